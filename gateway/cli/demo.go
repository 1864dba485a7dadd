package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/crumbgate/crumbgate/gateway/admin"
	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
)

const (
	demoUser = "demo"
	demoJob  = "crumbgate-demo"
	// demoPatience bounds each request of the demo, and the wait for its build.
	demoPatience = 60 * time.Second
)

// demoJobXML is a job that every Jenkins can build, without plugins.
const demoJobXML = `<?xml version='1.1' encoding='UTF-8'?>
<project>
  <description>Made by crumbgate's demo</description>
  <builders/>
</project>
`

type demo struct {
	env *Env

	once                         bool
	jenkins, data                string
	listen, jenkinsListen, admin string

	standIn *jenkinstest.Jenkins // nil with a real controller
	base    string               // of Jenkins through the gateway, without a slash at its end
	secret  string
}

func (e *Env) demo() *cobra.Command {
	d := &demo{env: e}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Shows a gateway at work in front of a stand-in Jenkins",
		Long: `Starts a stand-in Jenkins and a gateway before it, on this machine only, issues a
token, builds a job with it, and prints what happened. The gateway stays up for
you to try until Ctrl-C. Nothing is left behind, unless --data names a directory
for the token store.`,
		Example: `  caddy crumbgate demo
  caddy crumbgate demo --once
  caddy crumbgate demo --jenkins http://127.0.0.1:8080 --data ./demo`,
	}
	flags := cmd.Flags()
	flags.BoolVar(&d.once, "once", false, "end after the transcript; the exit status tells whether it worked")
	flags.StringVar(&d.jenkins, "jenkins", "", "use the controller at this URL; it must take its users from X-Forwarded-User, and let the user "+demoUser+" create jobs")
	flags.StringVar(&d.data, "data", "", "directory for the token store, kept (default: a temporary one)")
	flags.StringVar(&d.listen, "listen", "127.0.0.1:8000", "address of the gateway")
	flags.StringVar(&d.jenkinsListen, "jenkins-listen", "127.0.0.1:8080", "address of the stand-in Jenkins")
	flags.StringVar(&d.admin, "admin", "127.0.0.1:2019", "address of the admin endpoint")
	return e.runs(cmd, func(ctx context.Context, args []string) error {
		if err := noArguments(args); err != nil {
			return err
		}
		return d.run(ctx)
	})
}

func (d *demo) run(ctx context.Context) (err error) {
	ctx, stopSignals := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stopSignals()
	dir := d.data
	if dir == "" {
		if dir, err = os.MkdirTemp("", "crumbgate-demo-"); err != nil {
			return fmt.Errorf("making a directory for the token store: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	} else if dir, err = filepath.Abs(dir); err != nil {
		return err
	}

	upstream, err := d.upstream()
	if err != nil {
		return err
	}
	if upstream == nil {
		listener, err := listen(ctx, d.jenkinsListen, "--jenkins-listen")
		if err != nil {
			return err
		}
		d.standIn = jenkinstest.New(jenkinstest.Config{})
		server := &http.Server{Handler: d.standIn, ReadHeaderTimeout: demoPatience}
		go server.Serve(listener) //nolint:errcheck // it ends by Close
		defer server.Close()
		upstream = &url.URL{Scheme: "http", Host: listener.Addr().String()}
	}
	for flag, address := range map[string]*string{"--listen": &d.listen, "--admin": &d.admin} {
		// Caddy would say which address is in use, but not what to do.
		listener, err := listen(ctx, *address, flag)
		if err != nil {
			return err
		}
		*address = listener.Addr().String()
		listener.Close()
	}

	caddyfile := d.caddyfile(dir, upstream)
	stop, err := d.env.Serve(caddyfile, filepath.Join(dir, "caddy"))
	if err != nil {
		return fmt.Errorf("starting the gateway: %w", err)
	}
	defer func() { err = errors.Join(err, stop()) }()

	d.base = "http://" + d.listen + strings.TrimSuffix(upstream.Path, "/")
	d.say("The gateway's Caddyfile:\n\n%s\n", indent(caddyfile))
	if err := d.transcript(ctx); err != nil {
		return err
	}
	d.say("It works. Try it yourself:\n")
	d.say("  curl -u %s:%s %s/whoAmI/api/json", demoUser, d.secret, d.base)
	d.say("  curl -u %s:%s -X POST -i %s/job/%s/build", demoUser, d.secret, d.base, demoJob)
	d.say("  curl -H 'Authorization: Bearer %s' '%s/job/%s/lastBuild/api/json'", d.secret, d.base, demoJob)
	d.say("  curl -u %s:wrong -i %s/whoAmI/api/json\n", demoUser, d.base)
	if d.once {
		return nil
	}
	d.say("The gateway is up at %s until you press Ctrl-C.", d.base)
	d.say("Manage its tokens in another terminal: %s token list --address %s", d.env.Program, d.admin)
	<-ctx.Done()
	return nil
}

// upstream returns where the real controller is, nil if there is none.
func (d *demo) upstream() (*url.URL, error) {
	if d.jenkins == "" {
		return nil, nil
	}
	u, err := url.Parse(d.jenkins)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.RawQuery != "" {
		return nil, usagef("--jenkins %q is not the URL of a controller: use one such as http://127.0.0.1:8080/jenkins", d.jenkins)
	}
	u.Path = strings.TrimSuffix(u.Path, "/")
	return u, nil
}

func listen(ctx context.Context, address, flag string) (net.Listener, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is in use: stop the program that uses it, or give another address, such as %s 127.0.0.1:0", address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return listener, nil
}

func (d *demo) caddyfile(dir string, upstream *url.URL) string {
	var prefix string
	if upstream.Path != "" {
		prefix = " {\n\t\tprefix " + upstream.Path + "\n\t}"
	}
	host, _, err := net.SplitHostPort(d.listen)
	if err != nil {
		panic(err) // we have listened there
	}
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	log {
		level WARN
		format crumbgate
	}
	servers {
		protocols h1
	}
	crumbgate {
		storage bbolt %q
	}
}
http://%s {
	bind %s
	crumbgate%s
	reverse_proxy %s
}
`, d.admin, filepath.Join(dir, "tokens.db"), d.listen, host, prefix, upstream.Scheme+"://"+upstream.Host)
}

// transcript does what a script would, and prints it.
func (d *demo) transcript(ctx context.Context) error {
	client := admin.NewClient(admin.Dial("tcp", d.admin))
	created, err := client.CreateToken(ctx, admin.CreateRequest{
		User: demoUser, Name: "demo " + d.env.Now().Format("2006-01-02 15:04:05.000"), Expires: "1d",
	})
	if err != nil {
		return fmt.Errorf("issuing a token: %w", err)
	}
	d.secret = created.Secret
	d.say("1. A token for the user %s, valid for a day:\n\n   %s\n", demoUser, d.secret)

	d.say("2. Requests with it, none of them with a crumb:\n")
	got, err := d.show(ctx, http.MethodGet, "/whoAmI/api/json", "", "")
	if err != nil {
		return err
	}
	var who struct{ Name string }
	if err := got.readJSON(&who); err != nil {
		return err
	}
	if who.Name != demoUser {
		return fmt.Errorf("we are %q for Jenkins and not %q: let its security realm read the user from X-Forwarded-User (reverse-proxy-auth plugin)", who.Name, demoUser)
	}
	got, err = d.show(ctx, http.MethodPost, "/createItem?name="+demoJob, "application/xml", demoJobXML)
	if err != nil {
		return err
	}
	if reason := got.Header.Get("X-Error"); got.StatusCode != http.StatusOK && !strings.Contains(reason, "already exists") {
		return fmt.Errorf("creating the job %s: %s %s", demoJob, got.Status, reason)
	}
	got, err = d.show(ctx, http.MethodPost, "/job/"+demoJob+"/build", "", "")
	if err != nil {
		return err
	}
	location := got.Header.Get("Location")
	if got.StatusCode != http.StatusCreated || location == "" {
		return fmt.Errorf("starting a build: %s in place of 201 Created", got.Status)
	}
	number, result, err := d.build(ctx, location)
	if err != nil {
		return err
	}
	d.say("\n3. Build number %d of %s has ended: %s\n   %s/job/%s/%d/\n", number, demoJob, result, d.base, demoJob, number)
	return nil
}

// build follows a queue item to its build, and that to its end.
func (d *demo) build(ctx context.Context, location string) (number int, result string, err error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	item, err := url.Parse(location)
	if err != nil {
		return 0, "", fmt.Errorf("the Location of the queue item: %w", err)
	}
	path := strings.TrimPrefix(item.Path, strings.TrimPrefix(d.base, "http://"+d.listen))
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		got, err := d.send(ctx, http.MethodGet, path+"api/json", "", "")
		if err != nil {
			return 0, "", err
		}
		var state struct {
			Executable *struct{ Number int } // of a queue item
			Building   bool                  // of a build
			Number     int
			Result     string
		}
		if err := got.readJSON(&state); err != nil {
			return 0, "", err
		}
		switch {
		case state.Executable != nil:
			path = fmt.Sprintf("/job/%s/%d/", demoJob, state.Executable.Number)
		case state.Number != 0 && !state.Building:
			return state.Number, state.Result, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return 0, "", fmt.Errorf("the build has not ended within %v: look at %s/job/%s/", demoPatience, d.base, demoJob)
		}
	}
}

// A reply is a response that has been read.
type reply struct {
	*http.Response
	text []byte
}

// show sends a request and prints it, with what the stand-in has seen of it.
func (d *demo) show(ctx context.Context, method, path, contentType, body string) (*reply, error) {
	if d.standIn != nil {
		d.standIn.ResetRequests()
	}
	got, err := d.send(ctx, method, path, contentType, body)
	if err != nil {
		return nil, err
	}
	d.say("   %s %s -> %s", method, path, got.Status)
	if location := got.Header.Get("Location"); location != "" {
		d.say("      Location: %s", location)
	}
	if d.standIn == nil {
		return got, nil
	}
	for _, seen := range d.standIn.Requests() {
		line := fmt.Sprintf("      Jenkins saw %s %s by %s", seen.Method, seen.RequestURI, seen.User)
		if seen.Method == http.MethodPost {
			line += fmt.Sprintf(", crumb %s", seen.Crumb)
		}
		if seen.Header.Get("Authorization") == "" {
			line += ", without Authorization"
		}
		d.say("%s", line)
	}
	return got, nil
}

// send sends a request through the gateway.
func (d *demo) send(ctx context.Context, method, path, contentType, body string) (*reply, error) {
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, d.base+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(demoUser, d.secret)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := http.DefaultTransport.RoundTrip(req) // a redirect is an answer here
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusBadGateway, http.StatusGatewayTimeout:
		return nil, fmt.Errorf("%s %s: %s %s", method, path, resp.Status, bytes.TrimSpace(text))
	}
	return &reply{resp, text}, nil
}

func (r *reply) readJSON(into any) error {
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", r.Request.Method, r.Request.URL.Path, r.Status)
	}
	if err := json.Unmarshal(r.text, into); err != nil {
		return fmt.Errorf("%s %s: %w", r.Request.Method, r.Request.URL.Path, err)
	}
	return nil
}

func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.env.Stdout, format+"\n", args...)
}

func indent(text string) string {
	return "   " + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n   ") + "\n"
}
