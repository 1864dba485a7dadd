// Command gojenkins runs the scenario of ../README.md with
// github.com/bndr/gojenkins.
//
// The library asks for a crumb at /crumbIssuer/api/json/api/json before every
// POST and sends the first Set-Cookie line of the answer back as its Cookie.
// It follows the 302 after stop and doDelete with a GET, and reports the page
// that it finds there as an error, see [stop].
//
// It lives in a module of its own to keep the library out of crumbgate's.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bndr/gojenkins"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "FAIL:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	name, user := os.Getenv("JENKINS_JOB"), os.Getenv("JENKINS_USER")
	jenkins, err := gojenkins.CreateJenkins(nil, os.Getenv("JENKINS_URL"), user, os.Getenv("JENKINS_TOKEN")).Init(ctx)
	if err != nil {
		return fmt.Errorf("init: %w", err)
	}
	if jenkins.Version == "" {
		return errors.New("no X-Jenkins header")
	}

	// The library has no call for "who am I"; its Requester does it.
	var me struct{ ID string }
	if _, err := jenkins.Requester.GetJSON(ctx, "/me", &me, nil); err != nil {
		return fmt.Errorf("whoami: %w", err)
	}
	if me.ID != user {
		return fmt.Errorf("whoami: %q", me.ID)
	}
	done("whoami")

	if err := expectListed(ctx, jenkins, name, false); err != nil {
		return err
	}
	done("list")

	config, err := os.ReadFile(os.Getenv("JENKINS_JOB_XML"))
	if err != nil {
		return err
	}
	job, err := jenkins.CreateJob(ctx, string(config), name)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := expectListed(ctx, jenkins, name, true); err != nil {
		return err
	}
	done("create")

	if err := expectConfig(ctx, job, "first version"); err != nil {
		return err
	}
	changed := strings.Replace(string(config), "first version", "zweite Größe ☃", 1)
	if err := job.UpdateConfig(ctx, changed); err != nil {
		return fmt.Errorf("update config: %w", err)
	}
	if err := expectConfig(ctx, job, "zweite Größe ☃"); err != nil {
		return err
	}
	done("config")

	const greeting = "hello & grüß ☃"
	item, err := jenkins.BuildJob(ctx, name, map[string]string{"GREETING": greeting, "DURATION": "2s"})
	if err != nil {
		return fmt.Errorf("build: %w", err)
	}
	done("build")
	build, err := jenkins.GetBuildFromQueueID(ctx, job, item)
	if err != nil {
		return fmt.Errorf("queue item %d: %w", item, err)
	}
	var got any
	for _, p := range build.GetParameters() {
		if p.Name == "GREETING" {
			got = p.Value
		}
	}
	if got != greeting {
		return fmt.Errorf("build has GREETING %v, want %q", got, greeting)
	}
	done("queue")

	if err := readConsole(ctx, build); err != nil {
		return fmt.Errorf("console: %w", err)
	}
	if !build.IsGood(ctx) {
		return fmt.Errorf("build ended as %q", build.GetResult())
	}
	done("console")

	item, err = jenkins.BuildJob(ctx, name, map[string]string{"GREETING": "x", "DURATION": "1h"})
	if err != nil {
		return fmt.Errorf("long build: %w", err)
	}
	if build, err = jenkins.GetBuildFromQueueID(ctx, job, item); err != nil {
		return fmt.Errorf("queue item %d: %w", item, err)
	}
	if !build.IsRunning(ctx) {
		return errors.New("the long build is over at once")
	}
	if err := stop(ctx, build); err != nil {
		return err
	}
	done("stop")

	if _, err := jenkins.DeleteJob(ctx, name); err != nil && !isPageAsJSON(err) {
		return fmt.Errorf("delete: %w", err)
	}
	if _, err := jenkins.GetJob(ctx, name); err == nil {
		return errors.New("job is still there")
	}
	if err := expectListed(ctx, jenkins, name, false); err != nil {
		return err
	}
	done("delete")
	return nil
}

func expectListed(ctx context.Context, jenkins *gojenkins.Jenkins, name string, want bool) error {
	jobs, err := jenkins.GetAllJobNames(ctx)
	if err != nil {
		return fmt.Errorf("list: %w", err)
	}
	listed := slices.ContainsFunc(jobs, func(j gojenkins.InnerJob) bool { return j.Name == name })
	if listed != want {
		return fmt.Errorf("job %q listed: %v, want %v", name, listed, want)
	}
	return nil
}

func expectConfig(ctx context.Context, job *gojenkins.Job, text string) error {
	config, err := job.GetConfig(ctx)
	if err != nil {
		return fmt.Errorf("read config: %w", err)
	}
	if !strings.Contains(config, text) {
		return fmt.Errorf("config without %q: %s", text, config)
	}
	return nil
}

// readConsole reads the console piece by piece to its end and compares it with
// the whole.
func readConsole(ctx context.Context, build *gojenkins.Build) error {
	var text strings.Builder
	chunks := 0
	for offset := int64(0); ; {
		piece, err := build.GetConsoleOutputFromIndex(ctx, offset)
		if err != nil {
			return err
		}
		if piece.Content != "" {
			chunks++
		}
		text.WriteString(piece.Content)
		if offset = piece.Offset; offset != int64(text.Len()) {
			return fmt.Errorf("X-Text-Size %d after %d bytes", offset, text.Len())
		}
		if !piece.HasMoreText {
			break
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
	switch {
	case chunks < 2:
		return fmt.Errorf("came in %d pieces", chunks)
	case text.String() != build.GetConsoleOutput(ctx):
		return errors.New("pieces differ from the whole")
	case !strings.HasSuffix(strings.TrimSpace(text.String()), "Finished: SUCCESS"):
		return fmt.Errorf("has the wrong end: %q", text.String())
	}
	return nil
}

// stop stops a build and waits for its end.
//
// Since v1.2.0 (ReadJSONResponse in request.go) the library reports a body
// that is not JSON. Its http.Client follows Jenkins' 302 to the page of the
// build, which is HTML, so Stop, Delete and the like return a
// [json.SyntaxError] for what has succeeded, with any Jenkins and without a
// gateway too. So what counts here is what Jenkins says afterwards.
func stop(ctx context.Context, build *gojenkins.Build) error {
	if _, err := build.Stop(ctx); err != nil && !isPageAsJSON(err) {
		return fmt.Errorf("stop: %w", err)
	}
	for build.IsRunning(ctx) {
		if err := pause(ctx); err != nil {
			return fmt.Errorf("waiting for the end of the build: %w", err)
		}
	}
	if result := build.GetResult(); result != gojenkins.STATUS_ABORTED {
		return fmt.Errorf("stopped build ended as %q", result)
	}
	return nil
}

func isPageAsJSON(err error) bool {
	var syntax *json.SyntaxError
	return errors.As(err, &syntax) && syntax.Offset <= 2
}

func pause(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(50 * time.Millisecond):
		return nil
	}
}

func done(step string) { fmt.Println("done:", step) }
