package crumb_test

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

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
	if !failed || written > 64<<10 || !a.TooLarge() {
		t.Errorf("%d bytes were taken, failed %v, too large %v", written, failed, a.TooLarge())
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

func TestJudge(t *testing.T) {
	const phrase = "No valid crumb was included in the request"
	tests := []struct {
		name    string
		status  int
		headers []string
		body    string
		may     bool
		verdict crumb.Verdict
	}{
		{"HTML", 403, nil, "<h2>HTTP ERROR 403 " + phrase + "</h2>", true, crumb.Refused},
		{"JSON", 403, nil, `{"message":"` + phrase + `"}`, true, crumb.Refused},
		{"empty", 403, nil, "", true, crumb.Unclear},
		{"compressed", 403, []string{"Content-Encoding: gzip"}, "\x1f\x8b", true, crumb.Unclear},
		{"something else", 403, nil, "denied", true, crumb.NotRefused},
		{"missing permission", 403, []string{"X-Required-Permission: x"}, phrase, false, crumb.Refused},
		{"a page of Jenkins", 403, []string{"X-Jenkins: 2.568"}, phrase, false, crumb.Refused},
		{"another status", 401, nil, phrase, false, crumb.Refused},
		{"success", 200, nil, phrase, false, crumb.Refused},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := answerOf(200, "", test.headers...).Header()
			if may := crumb.MayRefuse(test.status, h); may != test.may {
				t.Errorf("MayRefuse = %v, want %v", may, test.may)
			}
			if verdict := crumb.Judge(h, []byte(test.body)); verdict != test.verdict {
				t.Errorf("Judge = %v, want %v", verdict, test.verdict)
			}
		})
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
