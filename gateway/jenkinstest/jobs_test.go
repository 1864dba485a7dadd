package jenkinstest_test

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

// startOpen starts a Jenkins without crumbs, for tests of what comes after them.
func startOpen(t testing.TB, cfg jenkinstest.Config) (*jenkinstest.Jenkins, string) {
	t.Helper()
	j, root := jenkinstest.Start(t, cfg)
	addJobs(t, j)
	j.SetCSRF(false)
	return j, root
}

// get reads JSON as alice until ok says that it will do.
func get[T any](t testing.TB, url string, ok func(T) bool) T {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; {
		var v T
		a := send(t, "GET", url, "", alice)
		if err := json.Unmarshal([]byte(a.body), &v); err != nil {
			t.Fatalf("GET %s = %d %q: %v", url, a.StatusCode, a.body, err)
		}
		if ok(v) {
			return v
		}
		if time.Now().After(deadline) {
			t.Fatalf("GET %s: still %s", url, a.body)
		}
	}
}

type queueItem struct {
	Class      string `json:"_class"`
	Why        string
	Cancelled  bool
	Executable *struct {
		Number int
		URL    string
	}
}

type buildInfo struct {
	Building bool
	Result   *string
	Number   int
	QueueID  int
}

// build posts and follows the queue item; it returns the URL of the build.
func build(t testing.TB, root, path string) string {
	t.Helper()
	a := send(t, "POST", root+path, "", alice)
	if a.StatusCode != 201 {
		t.Fatalf("POST %s = %d %q", path, a.StatusCode, a.body)
	}
	location := a.Header.Get("Location")
	if !matches(`^http://.*/queue/item/\d+/$`, location) {
		t.Fatalf("Location %q", location)
	}
	item := get(t, location+"api/json", func(q queueItem) bool { return q.Executable != nil })
	if item.Class != "hudson.model.Queue$LeftItem" {
		t.Errorf("_class %q", item.Class)
	}
	return item.Executable.URL
}

func TestBuild(t *testing.T) { // 7.3, 6.5
	_, root := startOpen(t, jenkinstest.Config{Prefix: "/ctx"})
	first := build(t, root, "/job/F/job/a/build")
	if first != root+"/job/F/job/a/1/" {
		t.Errorf("URL of the build %q", first)
	}
	done := get(t, first+"api/json", func(b buildInfo) bool { return !b.Building })
	if done.Result == nil || *done.Result != "SUCCESS" || done.Number != 1 || done.QueueID == 0 {
		t.Errorf("build %+v", done)
	}
	text := send(t, "GET", first+"consoleText", "", alice).body
	if !strings.HasPrefix(text, "Started by user alice\n") || !strings.HasSuffix(text, "\nFinished: SUCCESS\n") {
		t.Errorf("console %q", text)
	}
	for _, name := range []string{"1", "001", "+1", "lastBuild", "lastCompletedBuild", "lastSuccessfulBuild", "lastStableBuild"} {
		if a := send(t, "GET", root+"/job/F/job/a/"+name+"/consoleText", "", alice); a.body != text {
			t.Errorf("7.2: build %s = %d", name, a.StatusCode)
		}
	}
	for _, name := range []string{"2", "lastFailedBuild", "lastUnsuccessfulBuild", "lastestBuild"} {
		if a := send(t, "GET", root+"/job/F/job/a/"+name+"/", "", alice); a.StatusCode != 404 {
			t.Errorf("7.2: build %s = %d, want 404", name, a.StatusCode)
		}
	}
}

func TestProgressiveText(t *testing.T) { // 6.5
	_, root := startOpen(t, jenkinstest.Config{})
	url := build(t, root, "/job/p/buildWithParameters?DURATION=1h")
	var text strings.Builder
	pieces := 0
	for deadline := time.Now().Add(5 * time.Second); ; {
		a := send(t, "POST", fmt.Sprintf("%slogText/progressiveText?start=%d", url, text.Len()), "", alice)
		if a.Header.Get("Content-Type") != "text/plain;charset=utf-8" {
			t.Fatalf("%d %q", a.StatusCode, a.Header)
		}
		if text.WriteString(a.body); a.body != "" {
			if pieces++; pieces == 3 {
				send(t, "POST", url+"stop", "", alice)
			}
		}
		if size := a.Header.Get("X-Text-Size"); size != strconv.Itoa(text.Len()) {
			t.Fatalf("X-Text-Size %q after %d bytes", size, text.Len())
		}
		if a.Header.Get("X-More-Data") != "true" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the console doesn't end")
		}
	}
	if whole := send(t, "GET", url+"consoleText", "", alice).body; whole != text.String() || pieces < 3 {
		t.Errorf("%d pieces %q, whole %q", pieces, text.String(), whole)
	}
	if a := send(t, "GET", url+"logText/progressiveHtml?start=99999", "", alice); a.body != text.String() || a.Header.Get("X-ConsoleAnnotator") == "" {
		t.Errorf("start beyond the end: %q %q", a.Header, a.body)
	}
}

func TestStop(t *testing.T) { // 7.3
	_, root := startOpen(t, jenkinstest.Config{})
	url := build(t, root, "/job/p/buildWithParameters?DURATION=1h")
	if b := get(t, url+"api/json", func(buildInfo) bool { return true }); !b.Building || b.Result != nil {
		t.Errorf("build %+v", b)
	}
	if a := send(t, "GET", url+"stop", "", alice); a.StatusCode != 405 || a.Header.Get("Allow") != "POST" {
		t.Errorf("GET stop = %d, Allow %q", a.StatusCode, a.Header.Get("Allow"))
	}
	if a := send(t, "POST", url+"stop", "", alice, "Referer: http://x.example.org/y"); a.StatusCode != 302 || a.Header.Get("Location") != "http://x.example.org/y" {
		t.Errorf("stop = %d %q", a.StatusCode, a.Header.Get("Location"))
	}
	if b := get(t, url+"api/json", func(b buildInfo) bool { return !b.Building }); *b.Result != "ABORTED" {
		t.Errorf("build %+v", b)
	}
	if text := send(t, "GET", url+"consoleText", "", alice).body; !strings.HasSuffix(text, "Aborted by alice\nFinished: ABORTED\n") {
		t.Errorf("console %q", text)
	}
	if a := send(t, "POST", url+"submitDescription?description=d%C3%A9ja", "", alice); a.StatusCode != 302 {
		t.Errorf("submitDescription = %d", a.StatusCode)
	}
	if a := send(t, "GET", url+"api/json?tree=description", "", alice); !strings.Contains(a.body, "déja") {
		t.Errorf("description: %s", a.body)
	}
	if a := send(t, "POST", url+"doDelete", "", alice); a.StatusCode != 302 || a.Header.Get("Location") != "/job/p/" {
		t.Errorf("doDelete = %d %q", a.StatusCode, a.Header.Get("Location"))
	}
	if next := build(t, root, "/job/p/buildWithParameters"); next != root+"/job/p/2/" {
		t.Errorf("a number was used again: %q", next)
	}
}

func TestTriggers(t *testing.T) {
	j, root := startOpen(t, jenkinstest.Config{QuietPeriod: time.Hour})
	withToken := strings.Replace(jenkinstest.FreestyleXML, "<builders/>", "<authToken>t0p</authToken><builders/>", 1)
	if err := j.AddJob("t", withToken); err != nil {
		t.Fatal(err)
	}
	if err := j.AddJob("off", strings.Replace(jenkinstest.FreestyleXML, "false", "true", 1)); err != nil {
		t.Fatal(err)
	}
	const form = "Content-Type: application/x-www-form-urlencoded"
	field := func(s string) string { return "json=" + url.QueryEscape(s) }
	tests := []struct {
		name, method, path, body, header string
		status                           int
		location                         string // pattern
	}{
		{"7.3 build", "POST", "/job/a/build", "", "", 201, `/queue/item/1/$`},
		{"7.3 an equal one waits: same item", "POST", "/job/a/build", "", "", 201, `/queue/item/1/$`},
		{"7.3 tail ignored", "POST", "/job/a/build/x/y", "", "", 201, `/queue/item/1/$`},
		{"7.3 with parameters", "POST", "/job/p/buildWithParameters", "", "", 201, `/queue/item/2/$`},
		{"7.3 an equal one waits: 303", "POST", "/job/p/buildWithParameters?BRANCH=main", "", "", 303, `^http://.*/queue/item/2/$`},
		{"7.3 other parameters, other item", "POST", "/job/p/buildWithParameters", "BRANCH=dev", form, 201, `/queue/item/3/$`},
		{"7.3 form", "POST", "/job/p/build", field(`{"parameter":[{"name":"BRANCH","value":"x"}]}`), form, 201, `/queue/item/4/$`},
		{"7.3 form with one parameter", "POST", "/job/p/build", field(`{"parameter":{"name":"BRANCH","value":"x"}}`), form, 201, `/queue/item/4/$`},
		{"7.3 form in multipart", "POST", "/job/p/build", "--b\r\nContent-Disposition: form-data; name=\"json\"\r\n\r\n{\"parameter\":[{\"name\":\"BRANCH\",\"value\":\"x\"}]}\r\n--b--\r\n", "Content-Type: multipart/form-data; boundary=b", 201, `/queue/item/4/$`},
		{"7.3 form chooses its redirect", "POST", "/job/p/build", field(`{"parameter":[],"statusCode":"303","redirectTo":"/x"}`), form, 303, `^http://.*/x$`},
		{"7.3 form leads nowhere else", "POST", "/job/p/build", field(`{"parameter":[],"redirectTo":"//evil.example.org/"}`), form, 201, `/queue/item/5/$`},
		{"7.3 form with a foreign parameter", "POST", "/job/p/build", field(`{"parameter":[{"name":"NONE","value":"x"}]}`), form, 500, ``},
		{"7.3 form without json", "POST", "/job/p/build", "", "", 400, ``},
		{"7.3 form with broken json", "POST", "/job/p/build", field(`{`), form, 500, ``},
		{"7.3 GET shows the form", "GET", "/job/p/build", "", "", 405, ``},
		{"7.3 GET of a plain job", "GET", "/job/a/build", "", "", 405, ``},
		{"7.3 not parameterized", "POST", "/job/a/buildWithParameters", "", "", 400, ``},
		{"7.3 disabled", "POST", "/job/off/build", "", "", 409, ``},
		{"7.3 trigger token by GET", "GET", "/job/t/build?token=t0p", "", "", 201, `/queue/item/6/$`},
		{"7.3 wrong trigger token", "POST", "/job/t/build?token=no", "", "", 403, ``},
		{"7.3 trigger token ignored", "POST", "/job/a/build?token=any", "", "", 201, `/queue/item/1/$`},
		{"7.3 trigger token ignored, GET", "GET", "/job/a/build?token=any", "", "", 405, ``},
		{"7.3 polling", "POST", "/job/a/polling", "", "", 302, `^/job/a/$`},
		{"7.3 build by token", "GET", "/buildByToken/build?job=t&token=t0p", "", "", 201, `/queue/item/6/$`},
		{"7.3 build by wrong token", "POST", "/buildByToken/build?job=t&token=x", "", "", 403, ``},
		{"7.3 build by token of a job without", "POST", "/buildByToken/build?job=a&token=", "", "", 403, ``},
		{"7.3 folder", "POST", "/job/F/build", "", "", 404, ``},
		{"7.3 bad delay", "POST", "/job/a/build?delay=soon", "", "", 500, ``},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headers := []string{alice}
			if tt.header != "" {
				headers = append(headers, tt.header)
			}
			a := send(t, tt.method, root+tt.path, tt.body, headers...)
			if a.StatusCode != tt.status || !matches(tt.location, a.Header.Get("Location")) {
				t.Errorf("%s %s = %d %q, want %d %q", tt.method, tt.path, a.StatusCode, a.Header.Get("Location"), tt.status, tt.location)
			}
		})
	}
	if a := send(t, "GET", root+"/buildByToken/build?job=t&token=t0p", ""); a.StatusCode != 201 {
		t.Errorf("3.6: build by token without a user = %d, want 201", a.StatusCode)
	}
}

func TestQueue(t *testing.T) { // 7.3
	_, root := startOpen(t, jenkinstest.Config{})
	send(t, "POST", root+"/job/a/build?delay=3600sec", "", alice)
	item := get(t, root+"/queue/item/1/api/json", func(queueItem) bool { return true })
	if item.Class != "hudson.model.Queue$WaitingItem" || !strings.HasPrefix(item.Why, "In the quiet period. Expires in ") {
		t.Errorf("item %+v", item)
	}
	if a := send(t, "GET", root+"/queue/api/json", "", alice); strings.Count(a.body, `"id":`) != 1 {
		t.Errorf("queue %s", a.body)
	}
	for _, tt := range []struct {
		name, method, path string
		status             int
	}{
		{"cancel by GET", "GET", "/queue/cancelItem?id=1", 405},
		{"cancel", "POST", "/queue/cancelItem?id=1", 204},
		{"cancel again", "POST", "/queue/cancelItem?id=1", 404},
		{"cancel an unknown one", "POST", "/queue/cancelItem?id=77", 404},
		{"unknown item", "GET", "/queue/item/77/api/json", 404},
		{"not a number", "GET", "/queue/item/x/", 404},
	} {
		if a := send(t, tt.method, root+tt.path, "", alice); a.StatusCode != tt.status {
			t.Errorf("%s: %s %s = %d, want %d", tt.name, tt.method, tt.path, a.StatusCode, tt.status)
		}
	}
	if item := get(t, root+"/queue/item/1/api/json", func(queueItem) bool { return true }); !item.Cancelled {
		t.Errorf("item %+v", item)
	}

	build(t, root, "/job/p/buildWithParameters?DURATION=1h")
	a := send(t, "POST", root+"/job/p/buildWithParameters?delay=0sec", "", alice)
	blocked := get(t, a.Header.Get("Location")+"api/json", func(queueItem) bool { return true })
	if blocked.Class != "hudson.model.Queue$BlockedItem" || blocked.Why != "Build #1 is already in progress (ETA: N/A)" {
		t.Errorf("item behind a running build: %+v", blocked)
	}
	if a := send(t, "POST", root+"/queue/item/3/cancelQueue", "", alice); a.StatusCode != 204 {
		t.Errorf("cancelQueue = %d, want 204", a.StatusCode)
	}
}

func TestConfigAndCreate(t *testing.T) {
	_, root := startOpen(t, jenkinstest.Config{Prefix: "/ctx"})
	const xml = "Content-Type: application/xml"
	const form = "Content-Type: application/x-www-form-urlencoded"
	tests := []struct {
		name, method, path, body, contentType string
		status                                int
		xError, location                      string
	}{
		{"7.3 create", "POST", "/createItem?name=n", jenkinstest.FreestyleXML, xml, 200, "", ""},
		{"7.3 create with text/xml", "POST", "/job/F/createItem?name=n", "<project/>", "Content-Type: text/xml; charset=utf-8", 200, "", ""},
		{"7.3 create through a view", "POST", "/view/all/createItem?name=v", "<project/>", xml, 200, "", ""},
		{"4.5 taken, in another case", "POST", "/createItem?name=N", "<project/>", xml, 400, "A job already exists with the name ?N?", ""},
		{"4.5 no Content-Type", "POST", "/createItem?name=o", "<project/>", "", 400, "No Content-Type header set", ""},
		{"4.5 no name", "POST", "/createItem", "<project/>", xml, 400, "Query parameter 'name' is required", ""},
		{"4.5 bad name", "POST", "/createItem?name=a%2Fb", "<project/>", xml, 400, "?/? is an unsafe character", ""},
		{"4.5 empty name", "POST", "/createItem?name=", "<project/>", xml, 400, "No name is specified", ""},
		{"4.5 no mode", "POST", "/createItem?name=o", "", form, 400, "No mode given", ""},
		{"7.3 copy", "POST", "/createItem?name=c&mode=copy&from=p", "", "", 302, "", "/ctx/job/c/configure"},
		{"7.3 copy from a folder", "POST", "/createItem?name=c2&mode=copy&from=F/a", "", form, 302, "", "/ctx/job/c2/configure"},
		{"7.3 copy nothing", "POST", "/createItem?name=d&mode=copy&from=none", "", "", 400, "No such job: none", ""},
		{"7.3 create by GET", "GET", "/createItem?name=g", "", "", 405, "", ""},
		{"7.3 not XML", "POST", "/createItem?name=bad", "<project", xml, 500, "", ""},
		{"7.3 unknown type", "POST", "/createItem?name=bad", "<x/>", xml, 500, "", ""},
		{"7.3 update", "POST", "/job/n/config.xml", "<?xml version='1.1'?><project><description>new</description></project>", xml, 200, "", ""},
		{"7.3 HEAD", "HEAD", "/job/n/config.xml", "", "", 400, "", ""},
		{"7.3 PUT", "PUT", "/job/n/config.xml", "<project/>", xml, 400, "", ""},
		{"7.3 another type", "POST", "/job/n/config.xml", "<flow-definition/>", xml, 500, "", ""},
		{"7.3 rename", "POST", "/job/v/doRename?newName=w", "", "", 302, "", "/ctx/job/w/"},
		{"7.3 rename to a taken name", "POST", "/job/w/confirmRename", "newName=a", form, 400, "The name ?a? is already in use.", ""},
		{"7.3 DELETE", "DELETE", "/job/w/", "", "", 204, "", ""},
		{"7.3 it is gone", "GET", "/job/w/", "", "", 404, "", ""},
		{"7.3 doDelete by GET", "GET", "/job/n/doDelete", "", "", 405, "", ""},
		{"7.3 folder", "DELETE", "/job/F/", "", "", 204, "", ""},
		{"7.3 what was in it is gone", "GET", "/job/F/job/a/", "", "", 404, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			headers := []string{alice}
			if tt.contentType != "" {
				headers = append(headers, tt.contentType)
			}
			a := send(t, tt.method, root+tt.path, tt.body, headers...)
			if a.StatusCode != tt.status || a.Header.Get("X-Error") != tt.xError || a.Header.Get("Location") != tt.location {
				t.Errorf("%s %s = %d %q %q, want %d %q %q", tt.method, tt.path, a.StatusCode, a.Header.Get("X-Error"), a.Header.Get("Location"), tt.status, tt.xError, tt.location)
			}
		})
	}
	const want = "<?xml version='1.1' encoding='UTF-8'?>\n<project><description>new</description></project>"
	if a := send(t, "GET", root+"/job/n/config.xml", "", alice); a.body != want || a.Header.Get("Content-Type") != "application/xml" {
		t.Errorf("config.xml %q %q, want %q", a.Header.Get("Content-Type"), a.body, want)
	}
	send(t, "POST", root+"/job/n/disable", "", alice)
	if a := send(t, "GET", root+"/job/n/api/json?tree=buildable,color", "", alice); !strings.Contains(a.body, `"buildable":false,"color":"disabled"`) {
		t.Errorf("disabled job %s", a.body)
	}
}

func TestParallelUse(t *testing.T) {
	j, root := startOpen(t, jenkinstest.Config{BuildTime: time.Millisecond, QuietPeriod: time.Millisecond})
	var group sync.WaitGroup
	for _, path := range []string{"/job/a/build", "/job/p/buildWithParameters", "/job/a/config.xml", "/job/F/doRename?newName=G", "/job/G/doRename?newName=F"} {
		group.Go(func() {
			for range 20 {
				send(t, "POST", root+path, jenkinstest.FreestyleXML, alice)
				for _, get := range []string{"/api/json?depth=2", "/queue/api/json", "/job/F/job/a/", "/job/a/lastBuild/api/json"} {
					send(t, "GET", root+get, "", alice)
				}
				j.Requests()
			}
		})
	}
	group.Go(func() {
		for range 20 {
			j.Restart()
			j.Sessions()
		}
	})
	group.Wait()
}
