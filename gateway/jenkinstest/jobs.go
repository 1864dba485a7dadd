package jenkinstest

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"
)

// Job configurations to start from.
const (
	FreestyleXML   = "<?xml version='1.1' encoding='UTF-8'?>\n<project>\n  <description></description>\n  <disabled>false</disabled>\n  <builders/>\n</project>"
	FolderXML      = "<?xml version='1.1' encoding='UTF-8'?>\n<com.cloudbees.hudson.plugins.folder.Folder/>"
	MultibranchXML = "<?xml version='1.1' encoding='UTF-8'?>\n<org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject/>"
	PipelineXML    = "<?xml version='1.1' encoding='UTF-8'?>\n<flow-definition><description></description></flow-definition>"
	// ParameterizedXML has the parameters BRANCH (default "main") and DURATION (see Config.BuildTime).
	ParameterizedXML = `<?xml version='1.1' encoding='UTF-8'?>
<project>
  <description></description>
  <properties>
    <hudson.model.ParametersDefinitionProperty>
      <parameterDefinitions>
        <hudson.model.StringParameterDefinition><name>BRANCH</name><defaultValue>main</defaultValue></hudson.model.StringParameterDefinition>
        <hudson.model.StringParameterDefinition><name>DURATION</name><defaultValue></defaultValue></hudson.model.StringParameterDefinition>
      </parameterDefinitions>
    </hudson.model.ParametersDefinitionProperty>
  </properties>
  <disabled>false</disabled>
  <builders/>
</project>`
)

// DurationParameter is the build parameter that overrides Config.BuildTime, such as "1h": a build to be stopped.
const DurationParameter = "DURATION"

// jobs is everything that a restart keeps but credentials and salt.
type jobs struct {
	quiet, duration time.Duration

	mu        sync.Mutex // guards all below, items and builds included
	root      *item
	waiting   []*queueItem
	left      []*queueItem // the latest that left the queue; Jenkins keeps them for five minutes
	lastQueue int
}

func (s *jobs) init(cfg Config) {
	s.quiet, s.duration = cfg.QuietPeriod, cfg.BuildTime
	s.root = &item{children: map[string]*item{}}
}

// item is a job, or a folder if it has children, even none.
type item struct {
	name     string
	parent   *item
	children map[string]*item // by folded name
	config   []byte
	parsed   jobConfig
	disabled bool
	builds   []*build // by number
	last     int      // number given to the latest build
}

// jobConfig is what of a config.xml has an effect here.
type jobConfig struct {
	XMLName     xml.Name
	Description string `xml:"description"`
	Disabled    bool   `xml:"disabled"`
	Token       string `xml:"authToken"`
	Concurrent  bool   `xml:"concurrentBuild"`
	Parameters  struct {
		Definitions []parameterDefinition `xml:",any"`
	} `xml:"properties>hudson.model.ParametersDefinitionProperty>parameterDefinitions"`
}

type parameterDefinition struct {
	XMLName     xml.Name
	Name        string   `xml:"name"`
	Description string   `xml:"description"`
	Default     string   `xml:"defaultValue"`
	Choices     []string `xml:"choices>a>string"`
}

// itemClasses maps the root element of a config.xml to the class of the item.
var itemClasses = map[string]string{
	"project":         "hudson.model.FreeStyleProject",
	"flow-definition": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
	"com.cloudbees.hudson.plugins.folder.Folder":                            "com.cloudbees.hudson.plugins.folder.Folder",
	"org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject": "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject",
}

// itemForms are the items that the form of "New Item" makes, by its field mode.
var itemForms = map[string]string{
	"hudson.model.FreeStyleProject":                  FreestyleXML,
	"org.jenkinsci.plugins.workflow.job.WorkflowJob": PipelineXML,
	"com.cloudbees.hudson.plugins.folder.Folder":     FolderXML,
}

func (i *item) class() string                     { return itemClasses[i.parsed.XMLName.Local] }
func (i *item) isFolder() bool                    { return i.children != nil }
func (i *item) isRoot() bool                      { return i.parent == nil }
func (i *item) multibranch() bool                 { return strings.HasSuffix(i.class(), "MultiBranchProject") }
func (i *item) pipeline() bool                    { return strings.HasSuffix(i.class(), "WorkflowJob") }
func (i *item) parameters() []parameterDefinition { return i.parsed.Parameters.Definitions }

// path is the item's URL under the root, "job/F/job/a/"; empty for the root.
func (i *item) path() string {
	if i.isRoot() {
		return ""
	}
	return i.parent.path() + "job/" + url.PathEscape(i.name) + "/"
}

func (i *item) fullName() string {
	if i.isRoot() || i.parent.isRoot() {
		return i.name
	}
	return i.parent.fullName() + "/" + i.name
}

// pathOf and nameOf are for those who don't hold mu: a rename changes both.
func (s *jobs) pathOf(i *item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.path()
}

func (s *jobs) nameOf(i *item) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return i.fullName()
}

// child looks an item up as Jenkins and folders do, without case. Branch jobs are named with their slashes encoded, and
// found by either spelling: /job/feature%252Fx and /job/feature%2Fx.
func (i *item) child(name string) *item {
	if found := i.children[fold(name)]; found != nil {
		return found
	}
	if i.multibranch() {
		return i.children[fold(strings.ReplaceAll(name, "/", "%2F"))]
	}
	return nil
}

// prolog starts every file that Jenkins writes.
const prolog = "<?xml version='1.1' encoding='UTF-8'?>\n"

// setConfig parses a config.xml. encoding/xml knows XML 1.0 only, while Jenkins writes 1.1.
func (i *item) setConfig(config []byte) error {
	body := bytes.TrimSpace(config)
	if bytes.HasPrefix(body, []byte("<?xml")) {
		if _, after, ok := bytes.Cut(body, []byte("?>")); ok {
			body = bytes.TrimSpace(after)
		}
	}
	var parsed jobConfig
	if err := xml.Unmarshal(body, &parsed); err != nil {
		return fmt.Errorf("read config.xml: %w", err)
	}
	class := itemClasses[parsed.XMLName.Local]
	if class == "" {
		return fmt.Errorf("read config.xml: unknown item type %q", parsed.XMLName.Local)
	}
	if i.config != nil && class != i.class() {
		return errors.New("read config.xml: an item can't change its type")
	}
	i.config = slices.Concat([]byte(prolog), body)
	i.parsed, i.disabled = parsed, parsed.Disabled
	if (strings.Contains(class, "folder") || i.multibranch()) && i.children == nil {
		i.children = map[string]*item{}
	}
	return nil
}

func (i *item) add(name string, config []byte) (*item, error) {
	created := &item{name: name, parent: i}
	if err := created.setConfig(config); err != nil {
		return nil, err
	}
	i.children[fold(name)] = created
	return created, nil
}

// AddJob creates an item from a config.xml, or replaces its configuration. Folders on the way must exist. Slashes
// separate the names in fullName, and a branch's own slashes are written %2F, as Jenkins names branch jobs.
func (j *Jenkins) AddJob(fullName, config string) error {
	j.jobs.mu.Lock()
	defer j.jobs.mu.Unlock()
	at := j.jobs.root
	names := strings.Split(fullName, "/")
	for _, name := range names[:len(names)-1] {
		if at = at.child(name); at == nil || !at.isFolder() {
			return fmt.Errorf("add job %q: no folder %q", fullName, name)
		}
	}
	name := names[len(names)-1]
	if existing := at.child(name); existing != nil {
		return existing.setConfig([]byte(config))
	}
	_, err := at.add(name, []byte(config))
	return err
}

// group serves what an item group (Jenkins, a folder, a view of either) has in common.
func (x *exchange) group(g *item, t []string) {
	if len(t) == 0 {
		x.groupPage(g, "All")
		return
	}
	rest := t[1:]
	switch t[0] {
	case "job", "item":
		if len(rest) == 0 {
			x.notFound()
			return
		}
		x.j.jobs.mu.Lock()
		found := g.child(rest[0])
		x.j.jobs.mu.Unlock()
		if found == nil {
			x.notFound()
			return
		}
		x.item(found, rest[1:])
	case "view":
		if len(rest) == 0 || rest[0] != "all" && rest[0] != "All" || g.isRoot() && rest[0] == "All" {
			x.notFound()
			return
		}
		x.group(g, rest[1:])
	case "createItem":
		x.createItem(g)
	case "api": // of a view; Jenkins and folders answer this before
		x.serveAPI(bean{"hudson.model.AllView", []prop{
			{"description", 1, nil},
			{"jobs", 1, func() any { return x.itemBeans(g) }},
			{"name", 1, "all"},
			{"property", 1, []bean{}},
			{"url", 1, x.rootURL() + x.j.jobs.pathOf(g)},
		}}, rest)
	default:
		x.notFound()
	}
}

// createItem is hudson.model.ItemGroupMixIn.createTopLevelItem.
func (x *exchange) createItem(g *item) {
	if !x.requirePost() || !x.permit(itemChange) {
		return
	}
	contentType, mode := x.r.Header.Get("Content-Type"), x.param("mode")
	isXML := strings.HasPrefix(contentType, "application/xml") || strings.HasPrefix(contentType, "text/xml")
	name, named := x.lookup("name")
	name = strings.TrimSpace(name)
	switch {
	case contentType == "" && mode != "copy":
		x.failure("No Content-Type header set")
		return
	case !named:
		x.failure("Query parameter 'name' is required")
		return
	}
	if problem := badName(name); problem != "" {
		x.failure(problem)
		return
	}

	s := &x.j.jobs
	s.mu.Lock()
	var problem string
	var err error
	target := x.j.cfg.Prefix + "/" + g.path() + "job/" + url.PathEscape(name) + "/configure"
	config := x.body.Bytes()
	made := mode == "copy"
	switch {
	case g.child(name) != nil:
		problem = "A job already exists with the name ‘" + name + "’"
	case mode == "copy":
		from := x.param("from")
		source := s.lookup(g, from)
		switch {
		case from == "":
			problem = "Specify which job to copy"
		case source == nil:
			problem = "No such job: " + from
		default:
			config = source.config
		}
	case itemForms[mode] != "": // the form of "New Item"
		config, made = []byte(itemForms[mode]), true
	case !isXML:
		problem = "No mode given"
	}
	if problem == "" {
		_, err = g.add(name, config)
	}
	s.mu.Unlock()

	switch {
	case problem != "":
		x.failure(problem)
	case err != nil:
		x.oops()
	case made:
		x.redirect(target)
	default:
		x.text(http.StatusOK, "", "")
	}
}

// badName is Jenkins.checkGoodName; empty for a good one.
func badName(name string) string {
	switch {
	case name == "":
		return "No name is specified"
	case name == ".", name == "..":
		return "‘" + name + "’ is not an allowed name"
	}
	for _, c := range name {
		switch {
		case c < 0x20 || c >= 0x7f && c < 0xa0:
			return "No control code is allowed: " + name
		case strings.ContainsRune(`?*/\%!@#$^&|<>[]:;`, c):
			return "‘" + string(c) + "’ is an unsafe character"
		}
	}
	return ""
}

// lookup finds an item by name relative to a group, or absolute after a slash.
func (s *jobs) lookup(g *item, name string) *item {
	if absolute, ok := strings.CutPrefix(name, "/"); ok {
		g, name = s.root, absolute
	}
	for part := range strings.SplitSeq(name, "/") {
		if g = g.child(part); g == nil {
			return nil
		}
	}
	return g
}

// item serves a job or folder.
func (x *exchange) item(i *item, t []string) {
	if len(t) == 0 {
		if x.r.Method == http.MethodDelete { // HttpDeletable: no crumb, as the filter sees POST only
			if x.permit(itemChange) {
				x.deleteItem(i)
				x.text(http.StatusNoContent, "", "")
			}
			return
		}
		switch {
		case i.isFolder():
			x.groupPage(i, x.j.jobs.nameOf(i))
		case x.needSlash():
			x.jobPage(i, http.StatusOK, "job")
		}
		return
	}
	rest := t[1:]
	switch t[0] {
	case "api":
		x.serveAPI(x.itemBean(i), rest)
		return
	case "config.xml":
		x.configXML(i)
		return
	case "doDelete":
		if x.requirePost() && x.permit(itemChange) {
			x.redirect(x.j.cfg.Prefix + "/" + x.deleteItem(i))
		}
		return
	case "submitDescription":
		x.change(func() { i.parsed.Description = x.param("description") })
		return
	case "doRename", "confirmRename":
		x.rename(i)
		return
	}
	if i.isFolder() {
		x.group(i, t)
		return
	}
	switch t[0] {
	case "build":
		x.build(i, false)
	case "buildWithParameters":
		x.build(i, true)
	case "polling":
		if x.triggered(i) {
			x.redirectHere()
		}
	case "enable":
		x.change(func() { i.disabled = false })
	case "disable":
		x.change(func() { i.disabled = true })
	case "doWipeOutWorkspace":
		x.change(func() {})
	case "view", "createItem", "job", "item":
		x.notFound()
	default:
		x.buildOf(i, t[0], rest)
	}
}

// change does what a POST of somebody who may configure asks for, and leads back to the item.
func (x *exchange) change(do func()) {
	if !x.requirePost() || !x.permit(itemChange) {
		return
	}
	x.j.jobs.mu.Lock()
	do()
	x.j.jobs.mu.Unlock()
	x.redirectHere()
}

func (x *exchange) rename(i *item) {
	if !x.requirePost() || !x.permit(itemChange) {
		return
	}
	name := strings.TrimSpace(x.param("newName"))
	problem, target := badName(name), ""
	if problem == "" {
		s := &x.j.jobs
		s.mu.Lock()
		if taken := i.parent.child(name); taken != nil && taken != i {
			problem = "The name “" + name + "” is already in use."
		} else {
			delete(i.parent.children, fold(i.name))
			i.name = name
			i.parent.children[fold(name)] = i
			target = x.j.cfg.Prefix + "/" + i.path()
		}
		s.mu.Unlock()
	}
	if problem != "" {
		x.failure(problem)
		return
	}
	x.redirect(target)
}

// deleteItem returns the path of the group that the item was in.
func (x *exchange) deleteItem(i *item) (parent string) {
	s := &x.j.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	s.advance(time.Now())
	delete(i.parent.children, fold(i.name))
	s.waiting = slices.DeleteFunc(s.waiting, func(q *queueItem) bool { return q.job == i })
	return i.parent.path()
}

// configXML is AbstractItem.doConfigDotXml: GET and POST, everything else a 400, HEAD too.
func (x *exchange) configXML(i *item) {
	switch x.r.Method {
	case http.MethodGet:
		x.j.jobs.mu.Lock()
		config := string(i.config)
		x.j.jobs.mu.Unlock()
		x.text(http.StatusOK, "application/xml", config)
	case http.MethodPost:
		if !x.permit(itemChange) {
			return
		}
		x.j.jobs.mu.Lock()
		err := i.setConfig(x.body.Bytes())
		x.j.jobs.mu.Unlock()
		if err != nil {
			x.oops()
			return
		}
		x.text(http.StatusOK, "", "")
	default:
		x.sendError(http.StatusBadRequest, "Bad Request")
	}
}

// byName orders the items of a group.
func byName(a, b *item) int { return strings.Compare(fold(a.name), fold(b.name)) }

// itemBeans are the items of a group, by name.
func (x *exchange) itemBeans(g *item) []bean {
	x.j.jobs.mu.Lock()
	items := slices.SortedFunc(maps.Values(g.children), byName)
	x.j.jobs.mu.Unlock()
	beans := make([]bean, len(items))
	for n, i := range items {
		beans[n] = x.itemBean(i)
	}
	return beans
}

func (x *exchange) itemBean(i *item) bean {
	s := &x.j.jobs
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	s.advance(now)

	var description any
	if i.parsed.Description != "" {
		description = i.parsed.Description
	}
	props := []prop{
		{"actions", 1, []bean{}},
		{"description", 1, description},
		{"displayName", 1, strings.ReplaceAll(i.name, "%2F", "/")},
		{"displayNameOrNull", 1, nil},
		{"fullDisplayName", 1, strings.ReplaceAll(strings.ReplaceAll(i.fullName(), "/", " » "), "%2F", "/")},
		{"fullName", 1, i.fullName()},
		{"name", 3, i.name},
		{"url", 3, x.rootURL() + i.path()},
	}
	if i.isFolder() {
		all := bean{"hudson.model.AllView", []prop{{"name", 3, "All"}, {"url", 3, x.rootURL() + i.path()}}}
		return bean{i.class(), append(props,
			prop{"healthReport", 1, []bean{}},
			prop{"jobs", 1, func() any { return x.itemBeans(i) }},
			prop{"primaryView", 1, all},
			prop{"views", 1, []bean{all}},
		)}
	}

	builds := make([]bean, len(i.builds))
	for n, b := range i.builds {
		builds[len(builds)-1-n] = x.buildBean(b, now)
	}
	link := func(name string) any {
		if b := i.permalink(name, now); b != nil {
			return x.buildBean(b, now)
		}
		return nil
	}
	var first, queued any
	if len(i.builds) > 0 {
		first = builds[len(builds)-1]
	}
	for _, q := range s.waiting {
		if q.job == i {
			queued = x.queueBean(q, now)
		}
	}
	property := []bean{}
	actions := []bean{}
	if definitions := x.parameterBeans(i); len(definitions) > 0 {
		parameters := bean{"hudson.model.ParametersDefinitionProperty", []prop{{"parameterDefinitions", 2, definitions}}}
		property, actions = append(property, parameters), append(actions, parameters)
	}
	props[0].value = actions
	return bean{i.class(), append(props,
		prop{"buildable", 1, !i.disabled},
		prop{"allBuilds", -2, builds},
		prop{"builds", 1, builds},
		prop{"color", 3, i.color(now)},
		prop{"concurrentBuild", 1, i.concurrent()},
		prop{"disabled", 1, i.disabled},
		prop{"downstreamProjects", 1, []bean{}},
		prop{"firstBuild", 1, first},
		prop{"healthReport", 1, []bean{}},
		prop{"inQueue", 1, queued != nil},
		prop{"keepDependencies", 1, false},
		prop{"labelExpression", 1, nil},
		prop{"lastBuild", 1, link("lastBuild")},
		prop{"lastCompletedBuild", 1, link("lastCompletedBuild")},
		prop{"lastFailedBuild", 1, link("lastFailedBuild")},
		prop{"lastStableBuild", 1, link("lastStableBuild")},
		prop{"lastSuccessfulBuild", 1, link("lastSuccessfulBuild")},
		prop{"lastUnstableBuild", 1, link("lastUnstableBuild")},
		prop{"lastUnsuccessfulBuild", 1, link("lastUnsuccessfulBuild")},
		prop{"nextBuildNumber", 1, i.last + 1},
		prop{"property", 1, property},
		prop{"queueItem", 1, queued},
		prop{"scm", 1, bean{"hudson.scm.NullSCM", nil}},
		prop{"upstreamProjects", 1, []bean{}},
	)}
}

func (x *exchange) parameterBeans(i *item) []bean {
	beans := []bean{}
	for _, d := range i.parameters() {
		kind := d.XMLName.Local[strings.LastIndexByte(d.XMLName.Local, '.')+1:]
		beans = append(beans, bean{d.XMLName.Local, []prop{
			{"defaultParameterValue", 3, bean{strings.Replace(d.XMLName.Local, "Definition", "Value", 1), []prop{{"name", 4, d.Name}, {"value", 4, d.defaultValue()}}}},
			{"description", 3, d.Description},
			{"name", 3, d.Name},
			{"type", 3, kind},
		}})
	}
	return beans
}

func (d parameterDefinition) defaultValue() string {
	if len(d.Choices) > 0 {
		return d.Choices[0]
	}
	return d.Default
}
