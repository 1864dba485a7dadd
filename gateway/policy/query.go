package policy

import "strings"

// exported says whose data a query of the remote API picks from.
type exported uint8

const (
	ofRoot   exported = iota // of the controller or a user: their own fields
	ofQueue                  // of an item of the queue
	ofItem                   // of a job, folder or view
	ofBuild                  // of a build
	ofReport                 // of the tests of a build
)

// unfolding says what a query shows beside the object itself.
type unfolding uint8

const (
	nothing  unfolding = iota
	children           // items below
	beyond             // any object that Jenkins knows a way to, such as upstreamProjects[builds[…]]
)

// unfolds reads tree and depth (org.kohsuke.stapler.export.NamedPathPruner and TreePruner.ByDepth, hudson.model.Api). A name
// in tree shows fields of another object only if a bracket follows. A depth of n shows in full what is n steps away, and
// names and URLs of what is a step further. One step from a build are its actions, changes, their authors, its executor and
// the builds before and after it; one step from a test report are its own actions; one step from anything else are other
// items. All of a parameter's values count, and what
// is written in an unusual way unfolds beyond.
func (r request) unfolds(of exported) unfolding {
	found := nothing
	for rest := r.query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch {
		case strings.ContainsAny(key, "%+;"):
			return beyond
		case key == "tree":
			found = max(found, treeUnfolds(value, of))
		case key == "depth" && value != "0" && value != "-1" && (value != "1" || of < ofBuild): // gojenkins asks for -1 and 1
			return beyond
		}
	}
	return found
}

func treeUnfolds(tree string, of exported) unfolding {
	found, start := nothing, 0
	for at := 0; at < len(tree); {
		c, after, ok := unescape(tree, at)
		if !ok {
			return beyond
		}
		switch c {
		case '[':
			name := tree[start:at]
			if of == ofQueue && (name == "task" || name == "executable") && !namesOnly(tree[after:]) {
				return beyond
			}
			found = max(found, nameUnfolds(name, of))
			start = after
		case ',', ']', '{', '}':
			start = after
		}
		at = after
	}
	return found
}

// namesOnly reports whether what follows a bracket in a tree, up to its closing one, is nothing but the name, the URL and the
// number of an object: that is what an item of the queue shows of its job and its build without a tree.
func namesOnly(tree string) bool {
	for start, at := 0, 0; at < len(tree); {
		c, after, ok := unescape(tree, at)
		if !ok {
			return false
		}
		if c == ',' || c == ']' {
			switch tree[start:at] {
			case "name", "url", "number", "_class":
			default:
				return false
			}
			if c == ']' {
				return true
			}
			start = after
		}
		at = after
	}
	return false
}

// unfoldsCredentials reports whether a query shows more of a store, a domain or a credential than the credentials in it,
// which are so many steps away.
func (r request) unfoldsCredentials(steps int) bool {
	for rest := r.query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		key, value, _ := strings.Cut(pair, "=")
		switch {
		case strings.ContainsAny(key, "%+;"):
			return true
		case key == "depth":
			if value != "-1" && (len(value) != 1 || value[0] < '0' || int(value[0]-'0') > steps) {
				return true
			}
		case key == "tree" && credentialsTreeUnfolds(value):
			return true
		}
	}
	return false
}

func credentialsTreeUnfolds(tree string) bool {
	for start, at := 0, 0; at < len(tree); {
		c, after, ok := unescape(tree, at)
		if !ok {
			return true
		}
		switch c {
		case '[':
			if name := tree[start:at]; name != "domains" && name != "credentials" {
				return true
			}
			start = after
		case '*': // every field, and a bracket after it opens every object
			return true
		case ',', ']', '{', '}':
			start = after
		}
		at = after
	}
	return false
}

// nameUnfolds knows the fields by which an object shows what is its own.
func nameUnfolds(name string, of exported) unfolding {
	switch name {
	case "actions", "causes", "parameters":
		if of != ofRoot {
			return nothing
		}
	case "task", "executable":
		if of == ofQueue {
			return nothing
		}
	case "builds", "allBuilds", "firstBuild", "lastBuild", "lastStableBuild", "lastSuccessfulBuild", "lastFailedBuild", "lastUnstableBuild",
		"lastUnsuccessfulBuild", "lastCompletedBuild", "previousBuild", "nextBuild", "queueItem", "property", "parameterDefinitions",
		"defaultParameterValue", "healthReport", "artifacts", "changeSet", "changeSets", "items", "author", "culprits", "paths",
		"suites", "cases":
		if of >= ofItem {
			return nothing
		}
	case "nodes": // of a Pipeline's run (FlowGraphAction)
		if of == ofBuild {
			return nothing
		}
	case "activeConfigurations": // of a matrix project (MatrixProject): see isCell
		if of == ofItem {
			return nothing
		}
	case "runs": // of a build of one (MatrixBuild)
		if of == ofBuild {
			return nothing
		}
	case "jobs", "views", "primaryView":
		if of >= ofItem {
			return children
		}
	}
	return beyond
}
