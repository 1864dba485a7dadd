package crumb_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/crumb"
)

const issuerJSON = `{"_class":"hudson.security.csrf.DefaultCrumbIssuer","crumb":"ab12","crumbRequestField":"Jenkins-Crumb"}`

// answerOf is Jenkins' answer with headers as "Name: value" lines.
func answerOf(status int, body string, headers ...string) *crumb.Answer {
	a := new(crumb.Answer)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		a.Header().Add(name, value)
	}
	a.WriteHeader(status)
	_, _ = io.WriteString(a, body)
	return a
}

func TestAnswer(t *testing.T) {
	const isJSON, isJenkins = "Content-Type: application/json;charset=utf-8", "X-Jenkins: 2.568.2"
	long := strings.Repeat("x", 64<<10)
	tests := []struct {
		name   string
		answer *crumb.Answer
		err    string // "": none
		crumb  string
	}{
		{"crumb", answerOf(200, issuerJSON, isJSON, isJenkins), "", "ab12"},
		{"crumb after hints", func() *crumb.Answer {
			a := new(crumb.Answer)
			a.WriteHeader(103)
			a.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(a, issuerJSON)
			return a
		}(), "", "ab12"},
		{"masked crumb", answerOf(200, strings.Replace(issuerJSON, "ab12", strings.Repeat("ab", 64), 1), isJSON), "", strings.Repeat("ab", 64)},
		{"more in the object", answerOf(200, `{"crumb":"ab12","crumbRequestField":"Jenkins-Crumb","x":[1]}`, isJSON), "", "ab12"},
		{"protection off", answerOf(404, "", isJenkins), "", ""},
		{"another 404", answerOf(404, ""), "set prefix", ""},
		{"no answer", new(crumb.Answer), "status 0", ""},
		{"no permission", answerOf(403, "", "X-Required-Permission: hudson.model.Hudson.Read"), crumb.ErrForbidden.Error(), ""},
		{"another 403", answerOf(403, issuerJSON, isJSON), "status 403", ""},
		{"redirect", answerOf(302, issuerJSON, isJSON), "status 302", ""},
		{"created", answerOf(201, issuerJSON, isJSON), "status 201", ""},
		{"HTML", answerOf(200, issuerJSON, "Content-Type: text/html"), `"text/html" in place of application/json`, ""},
		{"no content type", answerOf(200, issuerJSON), `"" in place of application/json`, ""},
		{"too large", answerOf(200, long+"x", isJSON), "more than 65536 bytes", ""},
		{"long type", answerOf(200, issuerJSON, "Content-Type: "+long), "in place of application/json", ""},
		{"two objects", answerOf(200, issuerJSON+issuerJSON, isJSON), "not the JSON of a crumb issuer", ""},
		{"crumb a number", answerOf(200, `{"crumb":1,"crumbRequestField":"x"}`, isJSON), "not the JSON of a crumb issuer", ""},
		{"crumb not ASCII", answerOf(200, `{"crumb":"é","crumbRequestField":"x"}`, isJSON), "other than visible ASCII", ""},
		{"crumb with a blank", answerOf(200, `{"crumb":"a b","crumbRequestField":"x"}`, isJSON), "other than visible ASCII", ""},
		{"field of two lines", answerOf(200, `{"crumb":"a","crumbRequestField":"x\r\ny"}`, isJSON), "not a name for a header", ""},
		{"long field", answerOf(200, `{"crumb":"a","crumbRequestField":"`+long[:129]+`"}`, isJSON), "not a name for a header", ""},
		{"long class", answerOf(200, `{"crumb":"a","crumbRequestField":"x","_class":"`+long[:257]+`"}`, isJSON), "issuer's class", ""},
		{"long version", answerOf(200, issuerJSON, isJSON, "X-Jenkins: "+long[:65]), "X-Jenkins", ""},
		{"cookie that is none", answerOf(200, issuerJSON, isJSON, "Set-Cookie: ;"), "a cookie of the answer can't be read", ""},
		{"huge cookie", answerOf(200, issuerJSON, isJSON, "Set-Cookie: a="+long), "more than 4096 bytes", ""},
		{"huge cookies", answerOf(200, issuerJSON, isJSON, "Set-Cookie: a="+long[:3000], "Set-Cookie: b="+long[:3000]), "more than 4096 bytes", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := test.answer.Session(nil)
			if test.err != "" {
				if err == nil || !strings.Contains(err.Error(), test.err) || len(err.Error()) > 400 {
					t.Errorf("error %v, want %q", err, test.err)
				}
				return
			}
			if err != nil || s.Crumb != test.crumb {
				t.Errorf("session %+v, %v; want the crumb %q", s, err, test.crumb)
			}
		})
	}
	if _, err := answerOf(403, "", "X-Required-Permission: x").Session(nil); !errors.Is(err, crumb.ErrForbidden) {
		t.Errorf("error %v is not ErrForbidden", err)
	}
}

func TestAnswerStopsItsWriter(t *testing.T) {
	a := new(crumb.Answer)
	written, failed := 0, false
	for range 1000 {
		n, err := a.Write(make([]byte, 1000))
		written += n
		if err != nil {
			failed = true
			break
		}
	}
	if !failed || written > 64<<10 || !a.Stopped() {
		t.Errorf("%d bytes were taken, failed %v, stopped %v", written, failed, a.Stopped())
	}
}

// Of an answer other than 200 the status alone counts, however long its page is.
func TestStatusBeforeBody(t *testing.T) {
	for size, stopped := range map[int]bool{84_636: false, 2 << 20: true} {
		off := answerOf(404, strings.Repeat("x", size), "X-Jenkins: 2.578")
		if s, err := off.Session(nil); err != nil || s.Crumb != "" {
			t.Errorf("404 of %d bytes: session %+v, %v; want one without a crumb", size, s, err)
		}
		_, err := answerOf(503, strings.Repeat("x", size), "Retry-After: 5", "Set-Cookie: JSESSIONID.1=a").Session(nil)
		var unready *crumb.UnreadyError
		if !errors.As(err, &unready) || unready.Status != 503 || unready.Header.Get("Retry-After") != "5" || unready.Header["Set-Cookie"] != nil || unready.Body != nil {
			t.Errorf("503 of %d bytes: error %+v, want its status and Retry-After", size, err)
		}
		if off.Stopped() != stopped {
			t.Errorf("%d bytes: stopped %v, want %v", size, off.Stopped(), stopped)
		}
	}
	_, err := answerOf(503, "wait", "Content-Type: text/html").Session(nil)
	if unready := (*crumb.UnreadyError)(nil); !errors.As(err, &unready) || string(unready.Body) != "wait" {
		t.Errorf("503: error %+v, want the body", err)
	}
}

func TestCookies(t *testing.T) {
	tests := []struct {
		name string
		old  string
		set  []string
		want string
	}{
		{"none", "", nil, ""},
		{"Jenkins' session", "", []string{"JSESSIONID.1a=node01.node0;Path=/;HttpOnly;SameSite=Lax"}, "JSESSIONID.1a=node01.node0"},
		{"the session goes on", "JSESSIONID.1a=node01", nil, "JSESSIONID.1a=node01"},
		{"a new session", "JSESSIONID.1a=node01", []string{"JSESSIONID.1a=node02"}, "JSESSIONID.1a=node02"},
		{"a new session after a restart", "JSESSIONID.1a=node01; lb=7", []string{"JSESSIONID.2b=node02"}, "lb=7; JSESSIONID.2b=node02"},
		{"and the old one removed", "JSESSIONID.1a=node01", []string{"JSESSIONID.2b=node02", "JSESSIONID.1a=;Max-Age=0"}, "JSESSIONID.2b=node02"},
		{"a balancer's at each answer", "JSESSIONID.1a=node01; lb=7", []string{"lb=8; Path=/"}, "JSESSIONID.1a=node01; lb=8"},
		{"both", "", []string{"lb=7", "JSESSIONID.1a=node01"}, "lb=7; JSESSIONID.1a=node01"},
		{"removed", "remember-me=x; JSESSIONID.1a=node01", []string{"remember-me=;Path=/;Expires=Thu, 01 Jan 1970 00:00:00 GMT;Max-Age=0"}, "JSESSIONID.1a=node01"},
		{"removed by age alone", "lb=7", []string{"lb=7; Max-Age=0"}, ""},
		{"set twice", "", []string{"lb=7", "lb=8"}, "lb=8"},
		{"quoted", "", []string{`lb="a b,c"`}, `lb="a b,c"`},
		{"quoted, presented", `lb="a b"`, []string{"JSESSIONID.1a=node01"}, `lb="a b"; JSESSIONID.1a=node01`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := answerOf(200, issuerJSON, "Content-Type: application/json")
			for _, line := range test.set {
				a.Header().Add("Set-Cookie", line)
			}
			var old *crumb.Session
			if test.old != "" {
				old = &crumb.Session{Cookie: test.old}
			}
			s, err := a.Session(old)
			if err != nil || s.Cookie != test.want {
				t.Errorf("cookies %+v, %v; want %q", s, err, test.want)
			}
		})
	}
}

func TestLooksRefused(t *testing.T) {
	const phrase = "No valid crumb was included in the request"
	tests := []struct {
		name    string
		status  int
		headers []string
		body    string
		may     bool
		refused bool
	}{
		{"HTML", 403, nil, "<h2>HTTP ERROR 403 " + phrase + "</h2>", true, true},
		{"JSON", 403, nil, `{"message":"` + phrase + `"}`, true, true},
		{"empty", 403, nil, "", true, true},
		{"compressed", 403, []string{"Content-Encoding: gzip"}, "\x1f\x8b", true, true},
		{"something else", 403, nil, "denied", true, false},
		{"missing permission", 403, []string{"X-Required-Permission: x"}, phrase, false, true},
		{"a page of Jenkins", 403, []string{"X-Jenkins: 2.568"}, phrase, false, true},
		{"another status", 401, nil, phrase, false, true},
		{"success", 200, nil, phrase, false, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := answerOf(200, "", test.headers...).Header()
			if may := crumb.MayRefuse(test.status, h); may != test.may {
				t.Errorf("MayRefuse = %v, want %v", may, test.may)
			}
			if refused := crumb.LooksRefused(h, []byte(test.body)); refused != test.refused {
				t.Errorf("LooksRefused = %v, want %v", refused, test.refused)
			}
		})
	}
}

// TestMayReplay: nothing but a session that Jenkins has replaced proves that it can't have
// acted on a request.
func TestMayReplay(t *testing.T) {
	const strict, byDefault = "org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer", "hudson.security.csrf.DefaultCrumbIssuer"
	// ask is Jenkins' answer to a question in a session.
	ask := func(old *crumb.Session, class, text string, cookies ...string) *crumb.Session {
		a := answerOf(200, `{"_class":"`+class+`","crumb":"`+text+`","crumbRequestField":"Jenkins-Crumb"}`, "Content-Type: application/json")
		if class == "off" {
			a = answerOf(404, "", "X-Jenkins: 2.578")
		}
		for _, cookie := range cookies {
			a.Header().Add("Set-Cookie", cookie)
		}
		s, err := a.Session(old)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	const cookie, another = "JSESSIONID.1=node01.node0", "JSESSIONID.2=node02.node0"
	first := ask(nil, byDefault, "a", cookie, "lb=1")
	masked := ask(nil, strict, "a", cookie, "lb=1")
	off := ask(nil, "off", "", cookie)
	bare := ask(nil, byDefault, "a")
	replaced := ask(first, byDefault, "b", another)
	for _, test := range []struct {
		name      string
		sent, now *crumb.Session
		want      bool
	}{
		{"replaced", first, replaced, true},
		{"replaced under the same name", first, ask(first, byDefault, "b", "JSESSIONID.1=node02.node0"), true},
		{"replaced, and asked once more", first, ask(replaced, byDefault, "b"), true},
		{"replaced, another issuer", masked, ask(masked, strict, "b", another), true},
		{"goes on", first, ask(first, byDefault, "a"), false},
		{"goes on, another balancer", first, ask(first, byDefault, "a", "lb=2"), false},
		{"goes on, the same object", first, first, false},
		{"goes on, another crumb", first, ask(first, byDefault, "b"), true},
		{"goes on, another issuer's crumb", masked, ask(masked, strict, "b"), false},
		{"goes on, from another issuer to the default one", masked, ask(masked, byDefault, "b"), false},
		{"goes on, from the default issuer to another one", first, ask(first, strict, "b"), false},
		{"goes on, protection is on now", off, ask(off, byDefault, "a"), true},
		{"goes on, protection is on now, another issuer", off, ask(off, strict, "a"), false},
		{"goes on, protection is off now", first, ask(first, "off", ""), false},
		{"another session, which was opened for another question", first, ask(nil, byDefault, "b", another), false},
		{"another session, which replaced another one", first, ask(ask(nil, byDefault, "c", "JSESSIONID.3=x"), byDefault, "b", another), false},
		{"no session at all", bare, ask(bare, byDefault, "b"), false},
		{"no session, and one now", bare, ask(bare, byDefault, "b", another), false},
	} {
		if got := crumb.MayReplay(test.sent, test.now); got != test.want {
			t.Errorf("%s: MayReplay = %v, want %v", test.name, got, test.want)
		}
	}
}

// TestAgedCrumbs: the crumb of an issuer that looks at the time is not used for long.
func TestAgedCrumbs(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		class string
		age   time.Duration
		want  bool
	}{
		{"hudson.security.csrf.DefaultCrumbIssuer", 24 * time.Hour, false},
		{"org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer", 29 * time.Minute, false},
		{"org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer", 30 * time.Minute, true},
		{"org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer", -time.Hour, true}, // the clock was set back
		{"com.example.OtherIssuer", 24 * time.Hour, true},
	} {
		s := &crumb.Session{Crumb: "a", Class: test.class, Fetched: now.Add(-test.age)}
		if got := s.Aged(func() time.Time { return now }); got != test.want {
			t.Errorf("%s after %v: Aged = %v, want %v", test.class, test.age, got, test.want)
		}
	}
}

// What an answer yields can be sent as it is.
func FuzzAnswer(f *testing.F) {
	f.Add(200, issuerJSON, "application/json", "JSESSIONID.1=a;Path=/", "lb=1")
	f.Add(404, "", "text/html", "lb=;Max-Age=0", `lb="x y"`)
	f.Add(200, `{"crumb":"\n","crumbRequestField":"a:b"}`, "application/json", "a", "")
	f.Fuzz(func(t *testing.T, status int, body, contentType, cookie, other string) {
		if status < 100 || status > 999 {
			return
		}
		a := answerOf(status, body, "X-Jenkins: 2.568")
		a.Header().Set("Content-Type", contentType)
		a.Header()["Set-Cookie"] = []string{cookie, other}
		old := &crumb.Session{Cookie: "JSESSIONID.0=old; lb=0"}
		s, err := a.Session(old)
		if err != nil {
			return
		}
		header := http.Header{"Cookie": {s.Cookie}}
		if s.Crumb != "" {
			header.Set(s.Field, s.Crumb)
		}
		r := http.Request{Method: "POST", Header: header, Host: "x", Proto: "HTTP/1.1"}
		var wire strings.Builder
		if err := r.Header.Write(&wire); err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(wire.String(), "\r\n"); lines != len(header) || strings.Count(wire.String(), "\n") != lines {
			t.Errorf("%d lines for %d fields: %q", lines, len(header), wire.String())
		}
		if s.Cookie == "" {
			return
		}
		cookies, err := http.ParseCookie(s.Cookie)
		if err != nil {
			t.Fatalf("%q can't be read again: %v", s.Cookie, err)
		}
		seen := make(map[string]bool)
		for _, c := range cookies {
			if seen[c.Name] || c.Value == "" {
				t.Errorf("%q has %s twice, or empty", s.Cookie, c.Name)
			}
			seen[c.Name] = true
		}
	})
}
