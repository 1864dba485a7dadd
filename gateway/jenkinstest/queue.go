package jenkinstest

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What is remembered: items that left the queue, which Jenkins forgets after five minutes, and builds of a job.
const (
	maxLeft   = 1000
	maxBuilds = 1000
)

// queueItem is a hudson.model.Queue.Item.
type queueItem struct {
	id        int
	job       *item
	params    []param
	cause     cause
	entered   time.Time
	due       time.Time // end of the quiet period
	build     *build    // once it runs
	cancelled bool
}

// cause says who started a build.
type cause struct {
	user   string // empty for a trigger token
	remote string // address of the caller with a trigger token
}

// schedule puts a build into the queue. An equal item that still waits is returned instead, with created false.
func (s *jobs) schedule(i *item, params []param, by cause, quiet time.Duration, now time.Time) (q *queueItem, created bool) {
	s.advance(now)
	for _, q := range s.waiting {
		if q.job == i && slices.Equal(q.params, params) {
			return q, false
		}
	}
	s.lastQueue++
	q = &queueItem{id: s.lastQueue, job: i, params: params, cause: by, entered: now, due: now.Add(quiet)}
	s.waiting = append(s.waiting, q)
	return q, true
}

// advance starts the builds that are due. It is called before anything of jobs is looked at, in place of a scheduler,
// and needs mu held, as all methods below.
func (s *jobs) advance(now time.Time) {
	s.waiting = slices.DeleteFunc(s.waiting, func(q *queueItem) bool {
		if now.Before(q.due) || !q.job.concurrent() && q.job.running(now) != nil {
			return false
		}
		q.job.last++
		q.build = &build{
			job: q.job, number: q.job.last, queueID: q.id, params: q.params, cause: q.cause,
			start: now, duration: s.durationOf(q.params),
		}
		if q.job.builds = append(q.job.builds, q.build); len(q.job.builds) > maxBuilds {
			q.job.builds = q.job.builds[1:]
		}
		s.leave(q)
		return true
	})
}

func (s *jobs) leave(q *queueItem) {
	if s.left = append(s.left, q); len(s.left) > maxLeft {
		s.left = s.left[1:]
	}
}

func (s *jobs) durationOf(params []param) time.Duration {
	for _, p := range params {
		if d, err := time.ParseDuration(p.value); err == nil && p.name == DurationParameter {
			return d
		}
	}
	return s.duration
}

func (s *jobs) queueItem(id int) *queueItem {
	for _, list := range [][]*queueItem{s.waiting, s.left} {
		for _, q := range list {
			if q.id == id {
				return q
			}
		}
	}
	return nil
}

// triggerToken is a job's own, or empty.
func (s *jobs) triggerToken(i *item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.parsed.Token
}

// triggered is BuildAuthorizationToken.checkPermission: the job's trigger token stands in for the permission and for
// POST, and a wrong one refuses even who might build. It reports whether to go on.
func (x *exchange) triggered(i *item) bool {
	token, sent := x.lookup("token")
	if want := x.j.jobs.triggerToken(i); want != "" && sent {
		if sameSecret(token, want) {
			return true
		}
		x.wrongTriggerToken()
		return false
	}
	return x.permit(itemBuild) && x.requirePost()
}

// build is ParameterizedJobMixIn.doBuild and doBuildWithParameters.
func (x *exchange) build(i *item, withParameters bool) {
	s := &x.j.jobs
	s.mu.Lock()
	name, disabled, parameters, token := i.fullName(), i.disabled, i.parameters(), i.parsed.Token
	s.mu.Unlock()

	conflict := func() { x.sendError(http.StatusConflict, name+" is not buildable") }
	if !withParameters {
		if disabled {
			conflict()
			return
		}
		if len(parameters) > 0 && x.r.Method != http.MethodPost {
			x.jobPage(i, http.StatusMethodNotAllowed, "parameters")
			return
		}
	}
	if !x.triggered(i) {
		return
	}
	var params []param
	var form buildForm
	if withParameters {
		if disabled {
			conflict()
			return
		}
		if len(parameters) == 0 {
			x.sendError(http.StatusBadRequest, name+" is not parameterized")
			return
		}
		for _, d := range parameters {
			value, sent := x.lookup(d.Name)
			if !sent {
				value = d.defaultValue()
			}
			params = append(params, param{d.Name, value})
		}
	} else if len(parameters) > 0 {
		if !x.submittedForm(&form) {
			return
		}
		if !form.known(parameters) {
			x.oops() // "No such parameter definition"
			return
		}
		for _, p := range form.Parameter {
			params = append(params, param{p.Name, fmt.Sprint(p.Value)})
		}
	}
	quiet, ok := delay(x.param("delay"), s.quiet)
	if !ok {
		x.oops()
		return
	}
	by := cause{user: x.user}
	if _, sent := x.lookup("token"); sent && token != "" {
		by = cause{remote: x.remoteAddr()}
	}
	s.mu.Lock()
	q, created := s.schedule(i, params, by, quiet, time.Now())
	s.mu.Unlock()
	switch {
	case form.RedirectTo != "" && strings.HasPrefix(form.RedirectTo, "/") && !strings.HasPrefix(form.RedirectTo, "//"):
		x.Header().Set("Location", x.origin()+form.RedirectTo)
		x.text(form.status(), "", "")
	case withParameters && !created:
		x.created(http.StatusSeeOther, q.path())
	case form.status() == http.StatusFound:
		x.redirect(x.j.cfg.Prefix + q.path())
	default:
		x.created(form.status(), q.path())
	}
}

// buildByToken is the build-token-root plugin: /buildByToken/build?job=…&token=….
func (x *exchange) buildByToken(rest []string) {
	if len(rest) == 0 || rest[0] != "build" && rest[0] != "buildWithParameters" {
		x.notFound()
		return
	}
	s := &x.j.jobs
	s.mu.Lock()
	i := s.lookup(s.root, x.param("job"))
	s.mu.Unlock()
	if i == nil || i.isFolder() {
		x.notFound()
		return
	}
	switch token := s.triggerToken(i); {
	case token == "" || !sameSecret(token, x.param("token")):
		x.wrongTriggerToken()
	default:
		x.build(i, rest[0] == "buildWithParameters")
	}
}

// delay reads the delay parameter: seconds, with or without "sec".
func delay(s string, otherwise time.Duration) (time.Duration, bool) {
	if s == "" {
		return otherwise, true
	}
	for _, unit := range []string{"seconds", "second", "secs", "sec"} {
		s = strings.TrimSuffix(s, unit)
	}
	seconds, err := strconv.Atoi(strings.TrimSpace(s))
	return time.Duration(seconds) * time.Second, err == nil && seconds >= 0
}

func (q *queueItem) path() string { return fmt.Sprintf("/queue/item/%d/", q.id) }

// queue serves /queue.
func (x *exchange) queue(rest []string) {
	s := &x.j.jobs
	switch {
	case len(rest) == 0:
		x.notFound() // no index view
	case rest[0] == "api":
		s.mu.Lock()
		now := time.Now()
		s.advance(now)
		items := make([]bean, len(s.waiting))
		for n, q := range s.waiting {
			items[len(items)-1-n] = x.queueBean(q, now) // the latest first
		}
		s.mu.Unlock()
		x.serveAPI(bean{"hudson.model.Queue", []prop{
			{"discoverableItems", 1, []bean{}},
			{"items", 1, inlined(items)},
		}}, rest[1:])
	case rest[0] == "cancelItem":
		id, err := strconv.Atoi(x.param("id"))
		if err != nil {
			id = -1
		}
		x.cancel(id)
	case rest[0] == "item" && len(rest) > 1:
		id, err := strconv.Atoi(rest[1])
		if err != nil {
			x.notFound()
			return
		}
		x.queueItem(id, rest[2:])
	default:
		x.notFound()
	}
}

func (x *exchange) queueItem(id int, rest []string) {
	s := &x.j.jobs
	s.mu.Lock()
	now := time.Now()
	s.advance(now)
	q := s.queueItem(id)
	var shown bean
	if q != nil {
		shown = x.queueBean(q, now)
	}
	s.mu.Unlock()
	switch {
	case q == nil:
		x.notFound()
	case len(rest) == 0:
		x.object("Queue item " + strconv.Itoa(id))
	case rest[0] == "api":
		x.serveAPI(shown, rest[1:])
	case rest[0] == "cancelQueue":
		x.cancel(id)
	case rest[0] == "task":
		x.item(q.job, rest[1:])
	default:
		x.notFound()
	}
}

// cancel is Queue.doCancelItem: 204, where older versions redirect.
func (x *exchange) cancel(id int) {
	if !x.requirePost() {
		return
	}
	if x.restricted {
		x.text(http.StatusUnprocessableEntity, "", "")
		return
	}
	s := &x.j.jobs
	s.mu.Lock()
	s.advance(time.Now())
	at := slices.IndexFunc(s.waiting, func(q *queueItem) bool { return q.id == id })
	if at >= 0 {
		s.waiting[at].cancelled = true
		s.leave(s.waiting[at])
		s.waiting = slices.Delete(s.waiting, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 {
		x.text(http.StatusNotFound, "", "")
		return
	}
	x.text(http.StatusNoContent, "", "")
}

// always is the visibility of a queue item's properties.
const always = 999

func (x *exchange) queueBean(q *queueItem, now time.Time) bean {
	shown := bean{"hudson.model.Queue$WaitingItem", []prop{
		{"actions", always, actionBeans(q.params, q.cause)},
		{"blocked", always, false},
		{"buildable", always, false},
		{"id", always, q.id},
		{"inQueueSince", always, q.entered.UnixMilli()},
		{"params", always, paramText(q.params)},
		{"stuck", always, false},
		{"task", always, bean{q.job.class(), []prop{
			{"name", 3, q.job.name}, {"url", 3, x.rootURL() + q.job.path()}, {"color", 3, q.job.color(now)},
		}}},
		{"url", always, strings.TrimPrefix(q.path(), "/")},
	}}
	add := func(p ...prop) { shown.props = append(shown.props, p...) }
	switch {
	case q.cancelled:
		shown.class = "hudson.model.Queue$LeftItem"
		add(prop{"why", always, nil}, prop{"cancelled", always, true}, prop{"executable", always, nil})
	case q.build != nil:
		shown.class = "hudson.model.Queue$LeftItem"
		add(prop{"why", always, nil}, prop{"cancelled", always, false}, prop{"executable", always, bean{q.build.class(), []prop{
			{"number", 2, q.build.number}, {"url", 2, x.rootURL() + q.build.path()},
		}}})
	case now.Before(q.due):
		left := q.due.Sub(now)
		why := fmt.Sprintf("In the quiet period. Expires in %d ms", left.Milliseconds())
		if left >= time.Second {
			why = fmt.Sprintf("In the quiet period. Expires in %.1f sec", math.Round(left.Seconds()*10)/10)
		}
		add(prop{"why", always, why}, prop{"timestamp", always, q.due.UnixMilli()})
	default:
		shown.class = "hudson.model.Queue$BlockedItem"
		running := q.job.running(now)
		add(prop{"why", always, fmt.Sprintf("Build #%d is already in progress (ETA: N/A)", running.number)},
			prop{"buildableStartMilliseconds", always, q.due.UnixMilli()})
	}
	return shown
}

func paramText(params []param) string {
	var b strings.Builder
	for _, p := range params {
		b.WriteString("\n" + p.name + "=" + p.value)
	}
	return b.String()
}

// actionBeans tell a build's parameters and cause.
func actionBeans(params []param, by cause) []bean {
	var beans []bean
	if len(params) > 0 {
		values := make([]bean, len(params))
		for n, p := range params {
			values[n] = bean{"hudson.model.StringParameterValue", []prop{{"name", 4, p.name}, {"value", 4, p.value}}}
		}
		beans = append(beans, bean{"hudson.model.ParametersAction", []prop{{"parameters", 2, values}}})
	}
	started := bean{"hudson.model.Cause$UserIdCause", []prop{
		{"shortDescription", 3, "Started by user " + by.user}, {"userId", 3, by.user}, {"userName", 3, by.user},
	}}
	if by.remote != "" {
		started = bean{"hudson.model.Cause$RemoteCause", []prop{
			{"shortDescription", 3, "Started by remote host " + by.remote}, {"addr", 3, by.remote}, {"note", 3, nil},
		}}
	}
	return append(beans, bean{"hudson.model.CauseAction", []prop{{"causes", 2, []bean{started}}}})
}
