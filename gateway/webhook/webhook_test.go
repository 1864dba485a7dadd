package webhook_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/crumbgate/crumbgate/gateway/webhook"
)

// The signatures were computed with Python's hmac and, GitLab's, with OpenSSL too.
// GitHub's is the one that GitHub publishes for testing.
const (
	hubSecret    = "It's a Secret to Everybody"
	hubBody      = "Hello, World!"
	hubSignature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
	hubSHA1      = "sha1=01dc10d0c83e72ed246219cdd91669667fe2ca59"
	hubEmpty     = "sha256=66a0c074deaa0f489ead6537e0d32f9a344b90bbeda705b6ed45ecd3b413fb40"

	bitbucketSecret    = "bitbucket-shared-secret"
	bitbucketBody      = `{"push":{"changes":[]}}`
	bitbucketSignature = "sha256=bdf304560f118193d4a5937dc4a43b9ef2fe525e8c862f74fc04bd52477f4fed"

	gitlabToken     = "glsoat-0123456789abcdef"
	gitlabSigning   = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
	gitlabBody      = `{"object_kind":"push"}`
	gitlabID        = "f5e5f430-f57b-4e6e-9fac-d9128cd7232f"
	gitlabTime      = "946684800" // when time begins in a synctest bubble
	gitlabSignature = "v1,8AInA13DYgyp51h+kRqs0+PapCVUkSntD3ED4Fr978E="

	otherSigning = "whsec_ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="
)

func newVerifier(t testing.TB, kind webhook.Kind, limit int64, secrets ...string) *webhook.Verifier {
	t.Helper()
	v, err := webhook.New(kind, secrets, limit)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// A countingBody tells whether anybody has read it.
type countingBody struct {
	io.Reader
	reads int
}

func (b *countingBody) Read(p []byte) (int, error) {
	b.reads++
	return b.Reader.Read(p)
}

func (b *countingBody) Close() error { return nil }

func newRequest(header http.Header, body string) (*http.Request, *countingBody) {
	r := httptest.NewRequest("POST", "/hook", nil)
	r.Header = header.Clone()
	counting := &countingBody{Reader: strings.NewReader(body)}
	r.Body, r.ContentLength = counting, int64(len(body))
	return r, counting
}

func headers(pairs ...string) http.Header {
	h := http.Header{"Content-Type": {"application/json"}}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// standard returns GitLab's headers of a signed delivery; overriding ones with an
// empty value are left out.
func standard(override ...string) http.Header {
	h := headers("webhook-id", gitlabID, "webhook-timestamp", gitlabTime, "webhook-signature", gitlabSignature)
	for i := 0; i < len(override); i += 2 {
		h.Del(override[i])
		if override[i+1] != "" {
			h.Set(override[i], override[i+1])
		}
	}
	return h
}

func TestVerify(t *testing.T) {
	const (
		accepted   = iota
		wrong      // only the body can tell
		unreadable // nothing of the body may be read
	)
	hub := func(pairs ...string) http.Header { return headers(pairs...) }
	const hub256 = "X-Hub-Signature-256"
	digits := strings.TrimPrefix(hubSignature, "sha256=")
	both := []string{gitlabToken, gitlabSigning}
	token := []string{gitlabToken}
	signing := []string{gitlabSigning}

	tests := []struct {
		name    string
		kind    webhook.Kind
		secrets []string
		header  http.Header
		body    string
		want    int
	}{
		{"github", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature), hubBody, accepted},
		{"github with SHA-1 beside it", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature, "X-Hub-Signature", hubSHA1), hubBody, accepted},
		{"github first of two secrets", webhook.GitHub, []string{hubSecret, "another secret"}, hub(hub256, hubSignature), hubBody, accepted},
		{"github second of two secrets", webhook.GitHub, []string{"another secret", hubSecret}, hub(hub256, hubSignature), hubBody, accepted},
		{"github empty body", webhook.GitHub, []string{hubSecret}, hub(hub256, hubEmpty), "", accepted},
		{"github other secret", webhook.GitHub, []string{"another secret"}, hub(hub256, hubSignature), hubBody, wrong},
		{"github secret with its end cut off", webhook.GitHub, []string{hubSecret[:len(hubSecret)-1]}, hub(hub256, hubSignature), hubBody, wrong},
		{"github body cut", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature), hubBody[:len(hubBody)-1], wrong},
		{"github body extended", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature), hubBody + "\n", wrong},
		{"github body taken away", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature), "", wrong},
		{"github zeros", webhook.GitHub, []string{hubSecret}, hub(hub256, "sha256="+strings.Repeat("0", 64)), hubBody, wrong},
		{"github nothing", webhook.GitHub, []string{hubSecret}, hub(), hubBody, unreadable},
		{"github only SHA-1", webhook.GitHub, []string{hubSecret}, hub("X-Hub-Signature", hubSHA1), hubBody, unreadable},
		{"github SHA-256 in Bitbucket's header", webhook.GitHub, []string{hubSecret}, hub("X-Hub-Signature", hubSignature), hubBody, unreadable},
		{"github SHA-1 in the right header", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSHA1), hubBody, unreadable},
		{"github prefix sha1", webhook.GitHub, []string{hubSecret}, hub(hub256, "sha1="+digits), hubBody, unreadable},
		{"github prefix in capitals", webhook.GitHub, []string{hubSecret}, hub(hub256, "SHA256="+digits), hubBody, unreadable},
		{"github no prefix", webhook.GitHub, []string{hubSecret}, hub(hub256, digits), hubBody, unreadable},
		{"github only prefix", webhook.GitHub, []string{hubSecret}, hub(hub256, "sha256="), hubBody, unreadable},
		{"github empty", webhook.GitHub, []string{hubSecret}, hub(hub256, ""), hubBody, unreadable},
		{"github upper-case digits", webhook.GitHub, []string{hubSecret}, hub(hub256, "sha256="+strings.ToUpper(digits)), hubBody, unreadable},
		{"github cut", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature[:len(hubSignature)-1]), hubBody, unreadable},
		{"github cut by a byte", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature[:len(hubSignature)-2]), hubBody, unreadable},
		{"github extended", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature+"00"), hubBody, unreadable},
		{"github no hex", webhook.GitHub, []string{hubSecret}, hub(hub256, "sha256="+strings.Repeat("g", 64)), hubBody, unreadable},
		{"github blank", webhook.GitHub, []string{hubSecret}, hub(hub256, " "+hubSignature), hubBody, unreadable},
		{"github list", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature+", "+hubSignature), hubBody, unreadable},
		{"github twice the same", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature, hub256, hubSignature), hubBody, unreadable},
		{"github right then wrong", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature, hub256, "sha256="), hubBody, unreadable},
		{"github Content-Encoding", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature, "Content-Encoding", "gzip"), hubBody, unreadable},
		{"github Content-Encoding identity", webhook.GitHub, []string{hubSecret}, hub(hub256, hubSignature, "Content-Encoding", "identity"), hubBody, unreadable},
		{"github sent as gitlab", webhook.GitLab, []string{hubSecret}, hub(hub256, hubSignature), hubBody, unreadable},

		{"bitbucket", webhook.Bitbucket, []string{bitbucketSecret}, hub("X-Hub-Signature", bitbucketSignature), bitbucketBody, accepted},
		{"bitbucket other secret", webhook.Bitbucket, []string{hubSecret}, hub("X-Hub-Signature", bitbucketSignature), bitbucketBody, wrong},
		{"bitbucket body of another", webhook.Bitbucket, []string{bitbucketSecret}, hub("X-Hub-Signature", bitbucketSignature), hubBody, wrong},
		{"bitbucket in GitHub's header", webhook.Bitbucket, []string{bitbucketSecret}, hub(hub256, bitbucketSignature), bitbucketBody, unreadable},
		{"bitbucket SHA-1", webhook.Bitbucket, []string{hubSecret}, hub("X-Hub-Signature", hubSHA1), hubBody, unreadable},
		{"bitbucket twice", webhook.Bitbucket, []string{bitbucketSecret}, hub("X-Hub-Signature", bitbucketSignature, "X-Hub-Signature", bitbucketSignature), bitbucketBody, unreadable},

		{"gitlab token", webhook.GitLab, token, headers("X-Gitlab-Token", gitlabToken), gitlabBody, accepted},
		{"gitlab second of two tokens", webhook.GitLab, []string{"another token", gitlabToken}, headers("X-Gitlab-Token", gitlabToken), gitlabBody, accepted},
		{"gitlab token, with the id and time that GitLab sends without signing too", webhook.GitLab, both,
			standard("webhook-signature", "", "X-Gitlab-Token", gitlabToken), gitlabBody, accepted},
		{"gitlab wrong token", webhook.GitLab, token, headers("X-Gitlab-Token", "another token"), gitlabBody, unreadable},
		{"gitlab token cut", webhook.GitLab, token, headers("X-Gitlab-Token", gitlabToken[:len(gitlabToken)-1]), gitlabBody, unreadable},
		{"gitlab token extended", webhook.GitLab, token, headers("X-Gitlab-Token", gitlabToken+"0"), gitlabBody, unreadable},
		{"gitlab token in capitals", webhook.GitLab, token, headers("X-Gitlab-Token", strings.ToUpper(gitlabToken)), gitlabBody, unreadable},
		{"gitlab token empty", webhook.GitLab, token, headers("X-Gitlab-Token", ""), gitlabBody, unreadable},
		{"gitlab token missing", webhook.GitLab, token, headers(), gitlabBody, unreadable},
		{"gitlab token twice", webhook.GitLab, token, headers("X-Gitlab-Token", gitlabToken, "X-Gitlab-Token", gitlabToken), gitlabBody, unreadable},
		{"gitlab right token then wrong", webhook.GitLab, token, headers("X-Gitlab-Token", gitlabToken, "X-Gitlab-Token", "x"), gitlabBody, unreadable},
		{"gitlab signing token sent as token", webhook.GitLab, signing, headers("X-Gitlab-Token", gitlabSigning), gitlabBody, unreadable},

		{"gitlab signature", webhook.GitLab, signing, standard(), gitlabBody, accepted},
		{"gitlab second of two signing tokens", webhook.GitLab, []string{otherSigning, gitlabSigning}, standard(), gitlabBody, accepted},
		{"gitlab other signing token", webhook.GitLab, []string{otherSigning}, standard(), gitlabBody, wrong},
		{"gitlab signed body changed", webhook.GitLab, signing, standard(), gitlabBody + " ", wrong},
		{"gitlab other id", webhook.GitLab, signing, standard("webhook-id", "other"), gitlabBody, wrong},
		{"gitlab other time", webhook.GitLab, signing, standard("webhook-timestamp", "946684801"), gitlabBody, wrong},
		{"gitlab five minutes old, unsigned", webhook.GitLab, signing, standard("webhook-timestamp", "946684500"), gitlabBody, wrong},
		{"gitlab older", webhook.GitLab, signing, standard("webhook-timestamp", "946684499"), gitlabBody, unreadable},
		{"gitlab from the future", webhook.GitLab, signing, standard("webhook-timestamp", "946685101"), gitlabBody, unreadable},
		{"gitlab largest number", webhook.GitLab, signing, standard("webhook-timestamp", "9223372036854775807"), gitlabBody, unreadable},
		{"gitlab smallest number", webhook.GitLab, signing, standard("webhook-timestamp", "-9223372036854775808"), gitlabBody, unreadable},
		{"gitlab milliseconds", webhook.GitLab, signing, standard("webhook-timestamp", "946684800000"), gitlabBody, unreadable},
		{"gitlab time with plus", webhook.GitLab, signing, standard("webhook-timestamp", "+946684800"), gitlabBody, unreadable},
		{"gitlab time with zero", webhook.GitLab, signing, standard("webhook-timestamp", "0946684800"), gitlabBody, unreadable},
		{"gitlab time with fraction", webhook.GitLab, signing, standard("webhook-timestamp", "946684800.0"), gitlabBody, unreadable},
		{"gitlab no time", webhook.GitLab, signing, standard("webhook-timestamp", ""), gitlabBody, unreadable},
		{"gitlab no id", webhook.GitLab, signing, standard("webhook-id", ""), gitlabBody, unreadable},
		{"gitlab id with full stop", webhook.GitLab, signing, standard("webhook-id", "a.b"), gitlabBody, unreadable},
		{"gitlab id with blank", webhook.GitLab, signing, standard("webhook-id", "a b"), gitlabBody, unreadable},
		{"gitlab long id", webhook.GitLab, signing, standard("webhook-id", strings.Repeat("a", 129)), gitlabBody, unreadable},
		{"gitlab v2", webhook.GitLab, signing, standard("webhook-signature", "v2"+gitlabSignature[2:]), gitlabBody, unreadable},
		{"gitlab v1a", webhook.GitLab, signing, standard("webhook-signature", "v1a"+gitlabSignature[2:]), gitlabBody, unreadable},
		{"gitlab list of signatures", webhook.GitLab, signing, standard("webhook-signature", gitlabSignature+" "+gitlabSignature), gitlabBody, unreadable},
		{"gitlab no padding", webhook.GitLab, signing, standard("webhook-signature", strings.TrimSuffix(gitlabSignature, "=")), gitlabBody, unreadable},
		{"gitlab 33 bytes", webhook.GitLab, signing, standard("webhook-signature", strings.TrimSuffix(gitlabSignature, "=")+"A"), gitlabBody, unreadable},
		{"gitlab stray bits", webhook.GitLab, signing, standard("webhook-signature", strings.TrimSuffix(gitlabSignature, "E=")+"F="), gitlabBody, unreadable},
		{"gitlab prefix only", webhook.GitLab, signing, standard("webhook-signature", "v1,"), gitlabBody, unreadable},
		{"gitlab hex", webhook.GitLab, signing, standard("webhook-signature", hubSignature), gitlabBody, unreadable},

		{"gitlab both right", webhook.GitLab, both, standard("X-Gitlab-Token", gitlabToken), gitlabBody, accepted},
		{"gitlab right token, wrong signature", webhook.GitLab, both, standard("X-Gitlab-Token", gitlabToken), "other", wrong},
		{"gitlab right token, malformed signature", webhook.GitLab, both, standard("X-Gitlab-Token", gitlabToken, "webhook-signature", "v1,"), gitlabBody, unreadable},
		{"gitlab wrong token, right signature", webhook.GitLab, both, standard("X-Gitlab-Token", "another token"), gitlabBody, unreadable},
		{"gitlab Jenkins' own token, right signature", webhook.GitLab, signing, standard("X-Gitlab-Token", "of a Jenkins plugin"), gitlabBody, accepted},
		{"gitlab Jenkins' own token, wrong signature", webhook.GitLab, signing, standard("X-Gitlab-Token", "of a Jenkins plugin"), "other", wrong},
		{"gitlab Jenkins' own token alone", webhook.GitLab, signing, headers("X-Gitlab-Token", "of a Jenkins plugin"), gitlabBody, unreadable},
		{"gitlab signature without a signing token", webhook.GitLab, token, standard(), gitlabBody, unreadable},
	}
	for _, name := range []string{"Webhook-Id", "Webhook-Timestamp", "Webhook-Signature", "X-Gitlab-Token"} {
		h := standard("X-Gitlab-Token", gitlabToken)
		h[name] = append(h[name], h[name]...)
		tests = append(tests, struct {
			name    string
			kind    webhook.Kind
			secrets []string
			header  http.Header
			body    string
			want    int
		}{"gitlab twice " + name, webhook.GitLab, signing, h, gitlabBody, unreadable})
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, tt.kind, webhook.DefaultLimit, tt.secrets...)
				r, body := newRequest(tt.header, tt.body)
				release, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
				if tt.want == accepted {
					if err != nil {
						t.Fatalf("Verify = %v, want nil", err)
					}
					defer release()
					if got, err := io.ReadAll(r.Body); string(got) != tt.body || err != nil || r.ContentLength != int64(len(tt.body)) {
						t.Errorf("the body that goes on = %q, %v, with Content-Length %d, want %q", got, err, r.ContentLength, tt.body)
					}
					return
				}
				if !errors.Is(err, webhook.ErrSignature) || release != nil {
					t.Fatalf("Verify = %v, want ErrSignature", err)
				}
				if read := body.reads > 0; read != (tt.want == wrong) {
					t.Errorf("body was read: %v (%v)", read, err)
				}
				for name, values := range tt.header {
					for _, value := range values {
						if len(value) >= 8 && name != "Content-Type" && strings.Contains(err.Error(), value) {
							t.Errorf("error %q quotes the %s that was sent", err, name)
						}
					}
				}
			})
		})
	}
}

// A signature's time counts when it comes, in both directions.
func TestSignedTimePasses(t *testing.T) {
	for _, tt := range []struct {
		after time.Duration
		want  error
	}{
		{0, nil},
		{5 * time.Minute, nil},
		{5*time.Minute + 1, webhook.ErrSignature},
		{24 * time.Hour, webhook.ErrSignature},
	} {
		t.Run(tt.after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v := newVerifier(t, webhook.GitLab, 1000, gitlabSigning)
				time.Sleep(tt.after) // the bubble's time
				r, _ := newRequest(standard(), gitlabBody)
				if _, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1"); !errors.Is(err, tt.want) {
					t.Errorf("Verify %v after it was signed = %v, want %v", tt.after, err, tt.want)
				}
			})
		})
	}
}

// Not a bit of body or proof can be another one.
func TestTampering(t *testing.T) {
	tests := []struct {
		name   string
		v      *webhook.Verifier
		header http.Header
		body   string
		proof  string
	}{
		{"github", newVerifier(t, webhook.GitHub, 1000, hubSecret), headers("X-Hub-Signature-256", hubSignature), hubBody, "X-Hub-Signature-256"},
		{"bitbucket", newVerifier(t, webhook.Bitbucket, 1000, bitbucketSecret), headers("X-Hub-Signature", bitbucketSignature), bitbucketBody, "X-Hub-Signature"},
		{"gitlab token", newVerifier(t, webhook.GitLab, 1000, gitlabToken), headers("X-Gitlab-Token", gitlabToken), "", "X-Gitlab-Token"},
		{"gitlab signature", newVerifier(t, webhook.GitLab, 1000, gitlabSigning), standard(), gitlabBody, "Webhook-Signature"},
		{"gitlab id", newVerifier(t, webhook.GitLab, 1000, gitlabSigning), standard(), gitlabBody, "Webhook-Id"},
		{"gitlab time", newVerifier(t, webhook.GitLab, 1000, gitlabSigning), standard(), gitlabBody, "Webhook-Timestamp"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				try := func(header http.Header, body string) error {
					r, _ := newRequest(header, body)
					release, err := tt.v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
					if err == nil {
						release()
					}
					return err
				}
				if err := try(tt.header, tt.body); err != nil {
					t.Fatalf("Verify, untouched = %v", err)
				}
				for i := range len(tt.body) {
					for bit := range 8 {
						body := []byte(tt.body)
						body[i] ^= 1 << bit
						if err := try(tt.header, string(body)); !errors.Is(err, webhook.ErrSignature) {
							t.Errorf("Verify of body %q = %v, want ErrSignature", body, err)
						}
					}
				}
				right := tt.header.Get(tt.proof)
				for i := range len(right) {
					for bit := range 8 {
						value := []byte(right)
						value[i] ^= 1 << bit
						header := tt.header.Clone()
						header.Set(tt.proof, string(value))
						if err := try(header, tt.body); !errors.Is(err, webhook.ErrSignature) {
							t.Errorf("Verify with %s %q = %v, want ErrSignature", tt.proof, value, err)
						}
					}
				}
			})
		})
	}
}

func TestOnlyPost(t *testing.T) {
	v := newVerifier(t, webhook.GitHub, 1000, hubSecret)
	for _, method := range []string{"GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "post", "Post", ""} {
		r, body := newRequest(headers("X-Hub-Signature-256", hubSignature), hubBody)
		r.Method = method
		if _, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1"); !errors.Is(err, webhook.ErrSignature) || body.reads > 0 {
			t.Errorf("Verify of %q = %v after %d reads, want ErrSignature after none", method, err, body.reads)
		}
	}
}

func TestNew(t *testing.T) {
	tests := []struct {
		name    string
		kind    webhook.Kind
		secrets []string
		limit   int64
		want    string // part of the error, none if empty
	}{
		{"one", webhook.GitHub, []string{"12345678"}, 1, ""},
		{"two", webhook.Bitbucket, []string{"12345678", "abcdefgh"}, webhook.DefaultLimit, ""},
		{"token and signing token", webhook.GitLab, []string{gitlabToken, gitlabSigning}, 1, ""},
		{"whsec_ means nothing elsewhere", webhook.GitHub, []string{"whsec_no base64"}, 1, ""},
		{"none", webhook.GitHub, nil, 1, "has no secret"},
		{"empty", webhook.GitHub, []string{hubSecret, ""}, 1, "secret 2 of the github webhook: it is empty"},
		{"short", webhook.GitLab, []string{"1234567"}, 1, "use at least 8"},
		{"line end", webhook.GitHub, []string{hubSecret + "\n"}, 1, "white space"},
		{"blanks", webhook.GitHub, []string{"         "}, 1, "white space"},
		{"token that no header carries", webhook.GitLab, []string{"glsoat\n0123456789"}, 1, "control characters"},
		{"signing token cut", webhook.GitLab, []string{gitlabSigning[:len(gitlabSigning)-2]}, 1, "whsec_"},
		{"signing token of 31 bytes", webhook.GitLab, []string{"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg=="}, 1, "whsec_"},
		{"signing token of nothing", webhook.GitLab, []string{"whsec_AA"}, 1, "whsec_"},
		{"no limit", webhook.GitHub, []string{hubSecret}, 0, "at least 1"},
		{"negative limit", webhook.GitHub, []string{hubSecret}, -1, "at least 1"},
		{"limit that overflows", webhook.GitHub, []string{hubSecret}, 1 << 62, "at least 1"},
		{"kind", "gitea", []string{hubSecret}, 1, `"gitea"`},
		{"no kind", "", []string{hubSecret}, 1, `""`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v, err := webhook.New(tt.kind, tt.secrets, tt.limit)
			if tt.want == "" {
				if v == nil || err != nil {
					t.Fatalf("New = %v, %v", v, err)
				}
				return
			}
			if err == nil || v != nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("New = %v, %v, want an error with %q", v, err, tt.want)
			}
			for _, secret := range tt.secrets {
				if s := strings.TrimSpace(secret); s != "" && strings.Contains(err.Error(), s) {
					t.Errorf("error %q quotes a secret", err)
				}
			}
		})
	}
}

func TestParseKind(t *testing.T) {
	for text, ok := range map[string]bool{"github": true, "gitlab": true, "bitbucket": true, "GitHub": false, "": false, "gitea": false, "github ": false} {
		if kind, err := webhook.ParseKind(text); (err == nil) != ok || ok && string(kind) != text {
			t.Errorf("ParseKind(%q) = %q, %v", text, kind, err)
		}
	}
}

func TestSecretsDoNotShow(t *testing.T) {
	const token, key = "a-secret-token-of-gitlab", "\x00\x01\x02\x03"
	v := newVerifier(t, webhook.GitLab, 1000, token, gitlabSigning)
	h := newVerifier(t, webhook.GitHub, 1000, hubSecret)
	var out bytes.Buffer
	for _, x := range []any{v, *v, h, *h, []*webhook.Verifier{v, h}, struct{ v *webhook.Verifier }{h}, struct{ v webhook.Verifier }{*h}, map[string]any{"v": h}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%p"} {
			fmt.Fprintf(&out, verb+"\n", x)
		}
		text, err := json.Marshal(map[string]any{"v": x})
		if err != nil {
			t.Fatal(err)
		}
		out.Write(text)
		slog.New(slog.NewTextHandler(&out, nil)).Info("", "v", x)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("", "v", x)
	}
	for _, secret := range []string{
		token, key, hubSecret, strings.TrimPrefix(gitlabSigning, "whsec_"),
		fmt.Sprintf("%x", hubSecret)[:16], fmt.Sprint([]byte(hubSecret))[1:20], "0x49, 0x74, 0x27", "0001020304", "0 1 2 3 4",
	} {
		if strings.Contains(out.String(), secret) {
			t.Errorf("%q shows in:\n%s", secret, out.String())
		}
	}
	if !strings.Contains(out.String(), "github") || !strings.Contains(out.String(), "REDACTED") {
		t.Errorf("neither forge nor REDACTED in:\n%s", out.String())
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(hubSignature, "", []byte(hubBody))
	f.Add(strings.ToUpper(hubSignature), hubSignature, []byte(hubBody))
	f.Add(gitlabToken, "", []byte(hubBody))
	f.Add(hubSHA1, gitlabSignature, []byte{})
	github := newVerifier(f, webhook.GitHub, 1000, hubSecret)
	gitlab := newVerifier(f, webhook.GitLab, 1000, gitlabToken, gitlabSigning)
	f.Fuzz(func(t *testing.T, first, second string, body []byte) {
		h := headers()
		for _, name := range []string{"X-Hub-Signature-256", "X-Gitlab-Token"} {
			h.Add(name, first)
			if second != "" {
				h.Add(name, second)
			}
		}
		for v, want := range map[*webhook.Verifier]bool{
			github: first == hubSignature && second == "" && string(body) == hubBody,
			gitlab: first == gitlabToken && second == "" && len(body) <= 1000 && !bytes.HasPrefix(body, []byte("payload=")),
		} {
			r, _ := newRequest(h, string(body))
			release, err := v.Verify(httptest.NewRecorder(), r, "192.0.2.1")
			if (err == nil) != want {
				t.Fatalf("%v of %q, %q and body %q = %v, want %v", v, first, second, body, err, want)
			}
			if err == nil {
				if got, err := io.ReadAll(r.Body); !bytes.Equal(got, body) || err != nil {
					t.Fatalf("%q came out as %q, %v", body, got, err)
				}
				release()
			}
		}
	})
}

func BenchmarkVerify(b *testing.B) {
	for _, bench := range []struct {
		name   string
		v      *webhook.Verifier
		header http.Header
	}{
		// Of 10,240 times the letter x, by Python's hmac.
		{"github", newVerifier(b, webhook.GitHub, webhook.DefaultLimit, hubSecret), headers("X-Hub-Signature-256", "sha256=809a6ed06e16adb08958785c56fea9355a9c5122b20e686aae525b3ca0a49568")},
		{"gitlab token", newVerifier(b, webhook.GitLab, webhook.DefaultLimit, gitlabToken), headers("X-Gitlab-Token", gitlabToken)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			body := bytes.Repeat([]byte("x"), 10<<10)
			w, r := httptest.NewRecorder(), httptest.NewRequest("POST", "/hook", nil)
			r.Header = bench.header
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
				release, err := bench.v.Verify(w, r, "192.0.2.1")
				if err != nil {
					b.Fatal(err)
				}
				release()
			}
		})
	}
}
