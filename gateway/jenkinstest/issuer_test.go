package jenkinstest_test

import (
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestStrictIssuer(t *testing.T) {
	var now atomic.Int64
	now.Store(1_700_000_000)
	strict := func(change func(*jenkinstest.StrictIssuer)) *jenkinstest.StrictIssuer {
		s := jenkinstest.DefaultStrictIssuer()
		s.Now = func() time.Time { return time.Unix(now.Load(), 0) }
		change(s)
		return s
	}
	defaults := func(*jenkinstest.StrictIssuer) {}
	tests := []struct {
		name        string
		strict      *jenkinstest.StrictIssuer
		digits      int
		later       time.Duration
		sendSession bool
		headers     []string
		status      int
	}{
		{"3.7 defaults", strict(defaults), 128, 0, true, nil, 201},
		{"3.7 within two hours", strict(defaults), 128, 2 * time.Hour, true, nil, 201},
		{"3.7 after two hours", strict(defaults), 128, 2*time.Hour + 5*time.Minute, true, nil, 403},
		{"3.7 0 hours have no limit", strict(func(s *jenkinstest.StrictIssuer) { s.HoursValid = 0 }), 128, 1000 * time.Hour, true, nil, 201},
		{"3.7 at most 24 hours", strict(func(s *jenkinstest.StrictIssuer) { s.HoursValid = 99 }), 128, 24*time.Hour + 5*time.Minute, true, nil, 403},
		{"3.7 session is checked", strict(defaults), 128, 0, false, nil, 403},
		{"3.7 session isn't checked", strict(func(s *jenkinstest.StrictIssuer) { s.CheckSessionMatch = false }), 128, 0, false, nil, 201},
		{"3.7 without masking", strict(func(s *jenkinstest.StrictIssuer) { s.XORMasking = false }), 64, 0, true, nil, 201},
		{"3.7 address isn't checked", strict(defaults), 128, 0, true, []string{"X-Forwarded-For: 192.0.2.7"}, 201},
		{"3.7 address is checked", strict(func(s *jenkinstest.StrictIssuer) { s.CheckClientIP = true }), 128, 0, true, []string{"X-Forwarded-For: 192.0.2.7"}, 403},
		{"3.7 same source without Referer", strict(func(s *jenkinstest.StrictIssuer) { s.CheckSameSource = true }), 128, 0, true, nil, 403},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j, url := jenkinstest.Start(t, jenkinstest.Config{Strict: tt.strict})
			addJobs(t, j)
			crumb, session := crumbFor(t, url, "alice")
			if _, value, _ := strings.Cut(crumb, ": "); len(value) != tt.digits {
				t.Errorf("crumb has %d digits, want %d", len(value), tt.digits)
			}
			now.Add(int64(tt.later.Seconds()))
			headers := append([]string{alice, crumb}, tt.headers...)
			if tt.sendSession {
				headers = append(headers, session)
			}
			if a := send(t, "POST", url+"/job/a/build", "", headers...); a.StatusCode != tt.status {
				t.Errorf("POST = %d, want %d", a.StatusCode, tt.status)
			}
		})
	}
}

func TestStrictSameSource(t *testing.T) { // 3.7
	strict := jenkinstest.DefaultStrictIssuer()
	strict.CheckSameSource = true
	j, url := jenkinstest.Start(t, jenkinstest.Config{Strict: strict, Prefix: "/ctx"})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	if a := send(t, "POST", url+"/job/a/build", "", alice, crumb, session, "Referer: "+url+"/crumbIssuer/api/json"); a.StatusCode != 201 {
		t.Errorf("POST with the issuing URL as Referer = %d, want 201", a.StatusCode)
	}
}

func TestStrictMaskDiffersEachTime(t *testing.T) { // 3.7
	j, url := jenkinstest.Start(t, jenkinstest.Config{Strict: jenkinstest.DefaultStrictIssuer()})
	addJobs(t, j)
	first, session := crumbFor(t, url, "alice")
	a := send(t, "GET", url+"/crumbIssuer/api/xml", "", alice, session)
	if !strings.HasPrefix(a.body, "<strictCrumbIssuer _class='org.jenkinsci.plugins.strictcrumbissuer.StrictCrumbIssuer'><crumb>") {
		t.Errorf("XML %q", a.body)
	}
	_, value, _ := strings.Cut(first, ": ")
	if strings.Contains(a.body, value) {
		t.Error("two answers have the same crumb")
	}
	for _, malformed := range []string{"", "zz", value[:64], strings.Repeat("z", 128)} {
		if a := send(t, "POST", url+"/job/a/build", "", alice, session, "Jenkins-Crumb: "+malformed); a.StatusCode != 403 {
			t.Errorf("POST with crumb %q = %d, want 403", malformed, a.StatusCode)
		}
	}
}
