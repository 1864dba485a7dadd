package jenkinstest_test

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

func TestRecord(t *testing.T) {
	j, url := jenkinstest.Start(t, jenkinstest.Config{Prefix: "/ctx", RecordLimit: 3})
	addJobs(t, j)
	crumb, session := crumbFor(t, url, "alice")
	body := "<project>" + strings.Repeat(" ", 200_000) + "</project>"
	j.ResetRequests()
	send(t, "POST", url+"/x/..//job/a/config.xml?q=1", body, alice, crumb, session, "Content-Type: text/xml")
	requests := j.Requests()
	if len(requests) != 1 {
		t.Fatalf("%d requests", len(requests))
	}
	r := requests[0]
	sum := sha256.Sum256([]byte(body))
	if r.Method != "POST" || r.RequestURI != "/ctx/x/..//job/a/config.xml?q=1" || r.Path != "/job/a/config.xml" ||
		r.User != "alice" || r.Crumb != jenkinstest.CrumbValid || r.Status != 200 || r.Header.Get("X-Forwarded-User") != "alice" ||
		!strings.Contains(session, r.SessionID+".node0") || r.RemoteAddr == "" || r.Host == "" {
		t.Errorf("recorded %+v", r)
	}
	if r.BodyLen != int64(len(body)) || r.BodySHA256 != hex.EncodeToString(sum[:]) || string(r.Body) != body[:64<<10] {
		t.Errorf("body: %d bytes, %d kept, %s", r.BodyLen, len(r.Body), r.BodySHA256)
	}

	send(t, "POST", url+"/job/a/config.xml", body, alice)
	if r := j.Requests()[1]; r.BodyLen != 0 || r.Status != 403 {
		t.Errorf("a refused body was read: %d bytes", r.BodyLen)
	}
	for _, path := range []string{"/1", "/2", "/3", "/4"} {
		send(t, "GET", url+path, "")
	}
	var paths []string
	for _, r := range j.Requests() {
		paths = append(paths, r.Path)
	}
	if got := strings.Join(paths, " "); got != "/2 /3 /4" {
		t.Errorf("the latest three are %q", got)
	}
	j.SetRecording(false)
	send(t, "GET", url+"/5", "")
	if got := j.Requests()[2].Path; got != "/4" {
		t.Errorf("recorded %q while off", got)
	}
	j.SetRecording(true)
	j.ResetRequests()
	if got := len(j.Requests()); got != 0 {
		t.Errorf("%d requests after the reset", got)
	}
}
