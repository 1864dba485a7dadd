package endpoint

import "strings"

// A Walk goes along a path segment by segment, and tells at which of them Stapler may have come back to Jenkins' root object,
// so that what follows is as if it stood at the beginning. The zero value with a path set is at its start. It allocates
// nothing for a path without escapes.
//
// /manage falls back to the root (ManageJenkinsAction), and many objects have a getter that returns it or leads there:
// Job.getParent, View.getOwner, Computer.getNode, MyViewsProperty.getItemGroup, User and plugins by further ones. No list of
// them is complete, so every segment counts, except for two kinds: a name that a getter takes, such as that of a job after
// job, and the path of a file. Job names are free, and files are called project.
type Walk struct {
	// Path is what follows the segments walked so far: "", or with a slash at its beginning. It is as Stapler walks it, still
	// escaped, without a slash at its end.
	Path string

	// Here is the path from the current segment on, and Name that segment: decoded if it may be looked up in the root, as it
	// is written if not, since names are often escaped.
	Here, Name string
	// Root tells that the current segment may be looked up in the root.
	Root bool
	// Direct tells that nothing but manage came before the segment, so that it certainly is looked up in the root.
	Direct bool

	begun bool
	at    stage
}

// A stage is what the segments walked so far lead to, as far as files need it. A file's path is only known for certain when
// every segment before it is.
type stage uint8

const (
	atRoot stage = iota
	atManage
	atMe
	atViews // a view, or the views of the user
	atKeyword
	atItem // a job or folder
	atBuild
	atExecution
	atNodes
	atStep
	atOther
)

// takesName are the segments after which the next one is the name of an object.
func takesName(segment string) bool {
	switch segment {
	case "job", "item", "view", "user", "computer", "label", "branch", "pipeline", "store", "domain", "credential", "log":
		return true
	}
	return false
}

// Next goes to the next segment, and reports whether there is one that is no part of a file's path.
func (w *Walk) Next() bool {
	if w.Path == "" {
		return false
	}
	named := w.begun && w.Root && takesName(w.Name)
	before := w.Name
	w.Here = w.Path
	w.Name, w.Path = rawSegment(w.Path)
	if w.Root = !named; w.Root {
		w.Name = decode(w.Name)
	}
	w.Direct = !w.begun || w.at == atManage
	w.begun = true
	if named {
		w.at = afterName(w.at, before)
		return true
	}
	var file bool
	if w.at, file = w.at.after(w.Name); file {
		w.Path = ""
	}
	return !file
}

// afterName is the stage after the name that stands behind a keyword.
func afterName(at stage, keyword string) stage {
	switch {
	case at != atKeyword:
		return atOther
	case keyword == "view":
		return atViews
	}
	return atItem
}

// after returns the stage after a segment that is no name, and tells whether the segment begins the path of a file.
func (s stage) after(segment string) (_ stage, file bool) {
	switch s {
	case atRoot, atManage:
		switch segment {
		case "userContent":
			return atOther, true
		case "manage":
			return atManage, false
		case "me":
			return atMe, false
		case "job", "item", "view":
			return atKeyword, false
		}
	case atMe:
		if segment == "my-views" {
			return atViews, false
		}
	case atViews:
		switch segment {
		case "job", "item", "view":
			return atKeyword, false
		}
	case atItem:
		switch {
		case segment == "ws":
			return atOther, true
		case segment == "job", segment == "item", segment == "branch", segment == "view":
			return atKeyword, false
		case strings.Contains(segment, "="): // a configuration of a matrix project
			return atItem, false
		case IsBuild(segment):
			return atBuild, false
		}
	case atBuild:
		switch {
		case segment == "artifact":
			return atOther, true
		case segment == "execution":
			return atExecution, false
		case strings.Contains(segment, "="):
			return atBuild, false
		}
	case atExecution:
		if segment == "node" {
			return atNodes, false
		}
	case atNodes:
		if isNumber(segment) {
			return atStep, false
		}
	case atStep:
		if segment == "ws" {
			return atOther, true
		}
	}
	return atOther, false
}

// IsBuild knows builds by number or permalink. Java would read more as a number: +7, and digits of other scripts.
func IsBuild(name string) bool {
	switch name {
	case "lastBuild", "lastStableBuild", "lastSuccessfulBuild", "lastFailedBuild", "lastUnstableBuild", "lastUnsuccessfulBuild", "lastCompletedBuild", "firstBuild":
		return true
	}
	return isNumber(name)
}

func isNumber(name string) bool {
	for i := range len(name) {
		if name[i] < '0' || name[i] > '9' {
			return false
		}
	}
	return name != ""
}
