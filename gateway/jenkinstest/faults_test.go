package jenkinstest_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestFaults(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx"})
	tests := []struct {
		name  string
		fault jenkinstest.Fault
		check func(t *testing.T, a answer, took time.Duration)
	}{
		{"status", jenkinstest.Fault{Status: 503}, func(t *testing.T, a answer, _ time.Duration) {
			if a.StatusCode != 503 || a.body != "" {
				t.Errorf("%d %q", a.StatusCode, a.body)
			}
		}},
		{"HTML in place of JSON", jenkinstest.Fault{Body: "<p>maintenance</p>"}, func(t *testing.T, a answer, _ time.Duration) {
			if a.StatusCode != 200 || a.body != "<p>maintenance</p>" || a.Header.Get("Content-Type") != "text/html;charset=utf-8" {
				t.Errorf("%d %q %q", a.StatusCode, a.Header, a.body)
			}
		}},
		{"large", jenkinstest.Fault{Body: "{", Size: 1 << 20, ContentType: "application/json"}, func(t *testing.T, a answer, _ time.Duration) {
			if len(a.body) != 1<<20 || !strings.HasPrefix(a.body, "{ ") {
				t.Errorf("%d bytes", len(a.body))
			}
		}},
		{"delay of the right answer", jenkinstest.Fault{Delay: 20 * time.Millisecond}, func(t *testing.T, a answer, took time.Duration) {
			if took < 20*time.Millisecond || !strings.Contains(a.body, `"crumb":`) {
				t.Errorf("%q after %s", a.body, took)
			}
		}},
		{"drip of the right answer", jenkinstest.Fault{Drip: jenkinstest.Drip{Bytes: 50, Interval: 5 * time.Millisecond}}, func(t *testing.T, a answer, took time.Duration) {
			if took < 15*time.Millisecond || !strings.Contains(a.body, `"crumb":`) {
				t.Errorf("%q after %s", a.body, took)
			}
		}},
		{"another path", jenkinstest.Fault{PathPrefix: "/job/", Status: 500}, rightCrumb},
		{"another method", jenkinstest.Fault{Method: "POST", Status: 500}, rightCrumb},
		{"none", jenkinstest.Fault{}, rightCrumb},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			defer j.ClearFaults()
			j.Fail(tt.fault)
			began := time.Now()
			a := send(t, "GET", url+"/crumbIssuer/api/json", "", alice)
			tt.check(t, a, time.Since(began))
		})
	}
}

func rightCrumb(t *testing.T, a answer, _ time.Duration) {
	t.Helper()
	if a.StatusCode != 200 || !strings.Contains(a.body, `"crumb":`) {
		t.Errorf("%d %q", a.StatusCode, a.body)
	}
}

func TestFaultTimes(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.Fail(jenkinstest.Fault{Status: 500, Times: 2})
	j.Fail(jenkinstest.Fault{Status: 502, Times: 1})
	for n, want := range []int{500, 500, 502, 200} {
		if a := send(t, "GET", url+"/login", ""); a.StatusCode != want {
			t.Errorf("request %d = %d, want %d", n+1, a.StatusCode, want)
		}
	}
	j.Fail(jenkinstest.Fault{Status: 500})
	j.Fail(jenkinstest.Fault{})
	if a := send(t, "GET", url+"/login", ""); a.StatusCode != 200 {
		t.Errorf("after the zero Fault = %d, want 200", a.StatusCode)
	}
}

func TestAbortAndHang(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	for _, fault := range []jenkinstest.Fault{{Abort: true, Times: 1}, {Hang: true, Times: 1}} {
		j.ResetRequests()
		j.Fail(fault)
		ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // ends the hang
		req, err := http.NewRequestWithContext(ctx, "POST", url+"/x", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := noRedirects.Do(req); err == nil {
			resp.Body.Close()
			t.Errorf("%+v: answered %d", fault, resp.StatusCode)
		}
		cancel()
		for deadline := time.Now().Add(5 * time.Second); len(j.Requests()) == 0; {
			if time.Now().After(deadline) {
				t.Fatalf("%+v: not recorded", fault)
			}
		}
		if got := j.Requests()[0].Status; got != 0 {
			t.Errorf("%+v: recorded status %d", fault, got)
		}
	}
}

func TestEndlessBodyEndsWithTheClient(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.Fail(jenkinstest.Fault{Size: -1})
	resp, err := http.Get(url + "/login")
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, resp.Body, 10<<20); err != nil {
		t.Errorf("after %d bytes: %v", n, err)
	}
	resp.Body.Close() // Start's clean-up waits for the handler
}

func TestCloseEndsHangs(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{})
	j.Fail(jenkinstest.Fault{Hang: true})
	failed := make(chan error, 1)
	go func() {
		resp, err := http.Get(url + "/login")
		if err == nil {
			resp.Body.Close()
		}
		failed <- err
	}()
	j.Close()
	if err := <-failed; err == nil {
		t.Error("the hanging request was answered")
	}
}
