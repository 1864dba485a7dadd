package jenkinstest

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A running build's console grows by one line in each logInterval, up to maxLines.
const (
	logInterval = 10 * time.Millisecond
	maxLines    = 1000
)

// build is a hudson.model.Run. What it looks like depends on the time alone.
type build struct {
	job         *item
	number      int
	queueID     int
	params      []param
	cause       cause
	start       time.Time
	duration    time.Duration // planned
	aborted     time.Time     // zero unless stopped
	abortedBy   string
	description string
}

func (b *build) class() string {
	if b.job.pipeline() {
		return "org.jenkinsci.plugins.workflow.job.WorkflowRun"
	}
	return "hudson.model.FreeStyleBuild"
}

func (b *build) path() string { return b.job.path() + strconv.Itoa(b.number) + "/" }

func (b *build) end() time.Time {
	if !b.aborted.IsZero() {
		return b.aborted
	}
	return b.start.Add(b.duration)
}

func (b *build) running(now time.Time) bool { return now.Before(b.end()) }

// result is "SUCCESS", "ABORTED", or empty while the build runs.
func (b *build) result(now time.Time) string {
	switch {
	case b.running(now):
		return ""
	case !b.aborted.IsZero():
		return "ABORTED"
	}
	return "SUCCESS"
}

// log is the console text so far. What it once held it keeps: a client reads on from where it was.
func (b *build) log(now time.Time) string {
	var text strings.Builder
	if b.cause.remote != "" {
		fmt.Fprintf(&text, "Started by remote host %s\n", b.cause.remote)
	} else {
		fmt.Fprintf(&text, "Started by user %s\n", b.cause.user)
	}
	if end := b.end(); end.Before(now) {
		now = end
	}
	lines := min(int(now.Sub(b.start)/logInterval), maxLines)
	for n := range lines {
		fmt.Fprintf(&text, "line %d of build #%d\n", n+1, b.number)
	}
	if b.running(now) {
		return text.String()
	}
	if !b.aborted.IsZero() {
		fmt.Fprintf(&text, "Build was aborted\nAborted by %s\n", b.abortedBy)
	}
	fmt.Fprintf(&text, "Finished: %s\n", b.result(now))
	return text.String()
}

func (i *item) concurrent() bool { return i.parsed.Concurrent || i.pipeline() }

func (i *item) running(now time.Time) *build {
	for _, b := range slices.Backward(i.builds) {
		if b.running(now) {
			return b
		}
	}
	return nil
}

func (i *item) color(now time.Time) string {
	switch {
	case i.disabled:
		return "disabled"
	case len(i.builds) == 0:
		return "notbuilt"
	}
	color := "notbuilt"
	if b := i.permalink("lastCompletedBuild", now); b != nil {
		color = "blue"
		if b.result(now) == "ABORTED" {
			color = "aborted"
		}
	}
	if i.running(now) != nil {
		color += "_anime"
	}
	return color
}

// permalink finds a build by its name, or nil. No build here fails or is unstable.
func (i *item) permalink(name string, now time.Time) *build {
	if name == "firstBuild" && len(i.builds) > 0 {
		return i.builds[0]
	}
	for _, b := range slices.Backward(i.builds) {
		result := b.result(now)
		switch name {
		case "lastBuild":
			return b
		case "lastCompletedBuild":
			if result != "" {
				return b
			}
		case "lastSuccessfulBuild", "lastStableBuild":
			if result == "SUCCESS" {
				return b
			}
		case "lastUnsuccessfulBuild":
			if result == "ABORTED" {
				return b
			}
		}
	}
	return nil
}

// buildOf serves a build of a job by number, as Java parses it, or by permalink.
func (x *exchange) buildOf(i *item, name string, rest []string) {
	s := &x.j.jobs
	s.mu.Lock()
	now := time.Now()
	s.advance(now)
	b := i.permalink(name, now)
	if number, err := strconv.Atoi(name); err == nil { // "007" and "+7" are 7
		if at := slices.IndexFunc(i.builds, func(b *build) bool { return b.number == number }); at >= 0 {
			b = i.builds[at]
		}
	}
	s.mu.Unlock()
	if b == nil {
		x.notFound()
		return
	}
	if len(rest) == 0 {
		x.object(fmt.Sprintf("%s #%d", s.nameOf(i), b.number))
		return
	}
	switch rest[0] {
	case "api":
		s.mu.Lock()
		shown := x.buildBean(b, now)
		s.mu.Unlock()
		x.serveAPI(shown, rest[1:])
	case "console", "consoleFull":
		x.consolePage(b)
	case "consoleText":
		x.text(http.StatusOK, "text/plain;charset=utf-8", x.console(b))
	case "logText":
		if len(rest) < 2 || rest[1] != "progressiveText" && rest[1] != "progressiveHtml" {
			x.notFound()
			return
		}
		x.progressive(b, rest[1] == "progressiveHtml")
	case "stop", "term", "kill":
		x.stop(b)
	case "submitDescription":
		x.change(func() { b.description = x.param("description") })
	case "doDelete":
		if !x.requirePost() || !x.permit(itemChange) {
			return
		}
		s.mu.Lock()
		i.builds = slices.DeleteFunc(i.builds, func(other *build) bool { return other == b })
		s.mu.Unlock()
		x.redirect(x.j.cfg.Prefix + "/" + s.pathOf(i))
	default:
		x.notFound()
	}
}

func (x *exchange) console(b *build) string {
	x.j.jobs.mu.Lock()
	defer x.j.jobs.mu.Unlock()
	return b.log(time.Now())
}

// progressive is Stapler's LargeText: from start on, where to go on, and whether there will be more.
func (x *exchange) progressive(b *build, asHTML bool) {
	x.j.jobs.mu.Lock()
	now := time.Now()
	log, more := b.log(now), b.running(now)
	x.j.jobs.mu.Unlock()

	start, err := strconv.Atoi(x.param("start"))
	if err != nil || start < 0 || start > len(log) {
		start = 0 // "text rolled over"
	}
	h := x.Header()
	h.Set("X-Text-Size", strconv.Itoa(len(log)))
	if more {
		h.Set("X-More-Data", "true")
	}
	contentType := "text/plain;charset=utf-8"
	if asHTML {
		contentType = "text/html;charset=utf-8"
		h.Set("X-ConsoleAnnotator", randomHex(64))
	}
	x.text(http.StatusOK, contentType, log[start:])
}

func (x *exchange) stop(b *build) {
	if !x.requirePost() || !x.permit(permission{"hudson.model.Item.Cancel", "Job/Cancel", itemBuild.implied}) {
		return
	}
	x.j.jobs.mu.Lock()
	if now := time.Now(); b.running(now) {
		b.aborted, b.abortedBy = now, x.user
	}
	x.j.jobs.mu.Unlock()
	x.redirectBack()
}

func (x *exchange) buildBean(b *build, now time.Time) bean {
	var result, description any
	if r := b.result(now); r != "" {
		result = r
	}
	if b.description != "" {
		description = b.description
	}
	duration := int64(0)
	if !b.running(now) {
		duration = b.end().Sub(b.start).Milliseconds()
	}
	return bean{b.class(), []prop{
		{"actions", 1, actionBeans(b.params, b.cause)},
		{"artifacts", 1, []bean{}},
		{"building", 1, b.running(now)},
		{"description", 1, description},
		{"displayName", 1, fmt.Sprintf("#%d", b.number)},
		{"duration", 1, duration},
		{"estimatedDuration", 1, b.duration.Milliseconds()},
		{"executor", 1, nil},
		{"fullDisplayName", 1, fmt.Sprintf("%s #%d", b.job.fullName(), b.number)},
		{"id", 1, strconv.Itoa(b.number)},
		{"inProgress", 1, b.running(now)},
		{"keepLog", 1, false},
		{"number", 2, b.number},
		{"queueId", 1, b.queueID},
		{"result", 1, result},
		{"timestamp", 1, b.start.UnixMilli()},
		{"url", 2, x.rootURL() + b.path()},
		{"builtOn", 1, ""},
		{"changeSet", 1, bean{"hudson.scm.EmptyChangeLogSet", []prop{{"items", 1, []bean{}}, {"kind", 1, nil}}}},
		{"culprits", 1, []bean{}},
	}}
}
