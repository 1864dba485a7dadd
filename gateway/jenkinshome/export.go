package jenkinshome

import (
	"bytes"
	"io/fs"
	"iter"
	"maps"
	"slices"

	"github.com/crumbgate/crumbgate/gateway/user"
)

// Changed says what is to become of a user's tokens in Jenkins: see Merge.
type Changed struct {
	ID         user.ID
	Live, Gone []Token
}

// Export makes the files with which Jenkins knows the tokens of users again, and hands
// each to write, under its name in the home: config.xml and, if anything has been
// counted, apiTokenStats.xml. It changes nothing in the home. The data is write's to
// keep. Results are the users whose files have been written, with the tokens that were
// given, and what was left: above all users who have no directory in this home. An
// error of write is a problem of that user.
//
// Jenkins reads users when it starts and overwrites their files while it runs: the
// files are for one that is stopped.
func Export(fsys fs.FS, users []Changed, opts Options, write func(name string, data []byte) error) iter.Seq[Result] {
	return func(yield func(Result) bool) {
		h := openHome(fsys, opts)
		defer h.close()
		wanted := make(map[string]Changed, len(users)) // by key
		for _, u := range users {
			key := opts.UserIDs.Key(u.ID)
			// Two spellings of one user are one.
			have := wanted[key]
			if have.ID == "" {
				have.ID = u.ID
			}
			have.Live = slices.Concat(have.Live, u.Live)
			have.Gone = slices.Concat(have.Gone, u.Gone)
			wanted[key] = have
		}
		dirs, problems := h.directories()
		for i := range problems {
			if !yield(Result{Problem: &problems[i]}) {
				return
			}
		}
		opts.progress(0, len(dirs))
		for i, d := range dirs {
			for _, r := range h.export(d, wanted, write) {
				if !yield(r) {
					return
				}
			}
			opts.progress(i+1, len(dirs))
		}
		for _, key := range slices.Sorted(maps.Keys(wanted)) {
			u := wanted[key]
			p := Problem{Path: "users", User: u.ID, Reason: "has no directory in this home" + count(len(u.Live)) +
				": have the user sign in to Jenkins once, and export again"}
			if !yield(Result{Problem: &p}) {
				return
			}
		}
	}
}

// export writes the files of a directory if its user is wanted, and takes the user
// off.
func (h *home) export(d directory, wanted map[string]Changed, write func(string, []byte) error) []Result {
	file := configOf(d.path)
	failed := func(id user.ID, path string, err error) []Result {
		return []Result{{Problem: &Problem{Path: path, User: id, Reason: err.Error()}}}
	}
	data, err := h.read(file, maxConfig)
	if err != nil {
		return failed(user.ID(d.id), file, err)
	}
	// Cloned because both the next read and the parser change it.
	data = bytes.Clone(data)
	c, err := parseConfig(h.buf, h.opts.zone())
	if err != nil {
		return failed(user.ID(d.id), file, err)
	}
	defer c.wipe()
	id, err := h.identify(d, c)
	if err != nil {
		return failed("", file, err)
	}
	key := h.opts.UserIDs.Key(id)
	u, ok := wanted[key]
	if !ok {
		return nil
	}
	delete(wanted, key)
	merged, err := Merge(data, u.Live, u.Gone, h.opts.zone())
	clear(data)
	if err != nil {
		return failed(id, file, err)
	}
	var stats []byte
	old, err := h.read(statsOf(d.path), maxStats)
	if err == nil || missing(err) {
		stats, err = Stats(old, u.Live)
	}
	// Written also if the counts can't be: they are worth less than the tokens.
	results := []Result{{User: &User{ID: id, Directory: d.path, Tokens: u.Live}}}
	if err != nil {
		results = append(results, failed(id, statsOf(d.path), err)...)
		stats = nil
	}
	if err := write(file, merged); err != nil {
		return failed(id, file, err)
	}
	if stats != nil {
		if err := write(statsOf(d.path), stats); err != nil {
			results = append(results, failed(id, statsOf(d.path), err)...)
		}
	}
	return results
}
