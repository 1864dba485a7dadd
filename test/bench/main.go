// Command bench measures what crumbgate costs: the same requests through bare
// Caddy, through crumbgate, and through the ways to authenticate that Caddy has
// of its own, in one Caddy process, in interleaved rounds, on this machine.
//
//	go run ./test/bench            # throughput and latency; make bench
//	go run ./test/bench -million   # start-up and memory with a million tokens
//	go run ./test/bench -import    # a Jenkins home of 10,000 users; lists of tokens
//
// It reports against the project's goals and leaves the verdict to the reader:
// the exit status tells only whether everything could be measured. One wrong
// answer ends the run with an error.
//
// The load generator, Caddy and the upstream share the cores, so throughput
// ratios include what generator and upstream cost and are milder than the ratio
// of Caddy's own CPU time, which is reported beside them.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var err error
	if len(os.Args) == 2 && os.Args[1] == "upstream" {
		err = serveUpstream(os.Stdin, os.Stdout)
	} else {
		err = run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// settings are the flags.
type settings struct {
	Rounds   int           `json:"rounds"`
	Duration time.Duration `json:"duration_ns"`
	Conns    int           `json:"conns"`
	out      string
	only     string
	million  bool
	imports  bool
}

func run(ctx context.Context) error {
	var s settings
	flag.IntVar(&s.Rounds, "rounds", 15, "how often each variant is measured")
	flag.DurationVar(&s.Duration, "duration", time.Second, "how long each round of a variant takes")
	flag.IntVar(&s.Conns, "conns", 32, "connections, each with one request at a time")
	flag.StringVar(&s.out, "out", "", "file for the result (default build/bench.json, build/bench-million.json or build/bench-import.json)")
	flag.StringVar(&s.only, "only", "", "variants to measure, with commas; their bare ones are added")
	flag.BoolVar(&s.million, "million", false, "measure start-up and memory with a million tokens instead")
	flag.BoolVar(&s.imports, "import", false, "measure the import of a Jenkins home instead")
	flag.Parse()
	if flag.NArg() > 0 || s.Rounds < 1 || s.Duration <= 0 || s.Conns < 1 {
		flag.Usage()
		return errors.New("-rounds, -duration and -conns must be positive, and there are no arguments")
	}
	chosen, err := choose(s.only)
	if err != nil {
		return err
	}

	dir, err := os.MkdirTemp("", "crumbgate-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(ctx)
	defer stop() // ends the upstream
	up, err := startUpstream(ctx)
	if err != nil {
		return err
	}
	progress("building ./cmd/caddy")
	binary, err := buildCaddy(ctx, dir)
	if err != nil {
		return err
	}
	if s.imports {
		return imports(ctx, s, dir, binary)
	}
	if s.million {
		return million(ctx, s, dir, binary, up)
	}
	r := report{Machine: describeMachine(ctx), Settings: s}
	if err := compare(ctx, s, dir, binary, up, chosen, &r); err != nil {
		return err
	}
	r.conclude()
	r.print(os.Stdout)
	return writeJSON(cmp.Or(s.out, "build/bench.json"), r)
}

// A variant is one way for a request to reach the upstream.
type variant struct {
	name   string
	base   string // the variant it is compared to, "" for none
	what   string // for the report
	site   string // directives; DIRECT, GATED and YES stand for the addresses of the upstream
	post   bool
	secret string // what it sends instead of the token
	crumb  bool   // whether the client brings crumb and session itself
	scoped bool   // whether it sends the token that has limits
	fetch  bool   // whether it sends what a browser does, without a secret, for a page of the site
}

func (v variant) gated() bool { return strings.Contains(v.site, "crumbgate") }

// variants are in the order of a round: who is compared is next to each other.
//
// Each but a browser sends the same GET or POST with an Authorization header of the same
// length, because a client without a gateway would send Jenkins' own token. For
// the same reason the bare POST carries the crumb and the session that the token
// client is spared. Browsers send the session with a GET as well, so that they have
// bare ones of their own.
var variants = []variant{
	{
		name: "basic-auth", base: "bare-get",
		what:   "basic_auth: bcrypt of cost 14, checked once and then in Caddy's hash_cache",
		site:   "basic_auth {\n" + user + " " + passwordHash + "\n}\nreverse_proxy DIRECT\n",
		secret: password,
	},
	{
		name: "bare-get",
		what: "reverse_proxy alone",
		site: "reverse_proxy DIRECT\n",
	},
	{
		name: "token-get", base: "bare-get",
		what: "crumbgate, GET with a token",
		site: gated,
	},
	{
		name: "limited-get", base: "bare-get",
		what:   "crumbgate, GET with a token that has scopes and a network",
		site:   gated,
		scoped: true,
	},
	{
		name: "forward-auth", base: "bare-get",
		what: "forward_auth to a service that only says yes",
		site: "forward_auth YES {\nuri /\n}\nreverse_proxy DIRECT\n",
	},
	{
		name: "bare-post",
		what: "reverse_proxy alone, the client brings crumb and session",
		site: "reverse_proxy DIRECT\n",
		post: true, crumb: true,
	},
	{
		name: "token-post", base: "bare-post",
		what: "crumbgate, POST with a token, the broker brings crumb and session",
		site: gated,
		post: true,
	},
	{
		name:  "bare-fetch-get",
		what:  "reverse_proxy that tells Jenkins who has signed in, GET by a browser",
		site:  signIn + telling,
		fetch: true,
	},
	{
		name: "session-get", base: "bare-fetch-get",
		what:  "crumbgate, GET by a browser of who has signed in",
		site:  signIn + signedIn,
		fetch: true,
	},
	{
		name: "bare-fetch-post",
		what: "reverse_proxy that tells Jenkins who has signed in, POST by a browser",
		site: signIn + telling,
		post: true, crumb: true, fetch: true,
	},
	{
		name: "session-post", base: "bare-fetch-post",
		what: "crumbgate, POST by a browser of who has signed in, its crumb verified",
		site: signIn + signedIn,
		post: true, crumb: true, fetch: true,
	},
}

// signIn is one by which everybody is user. It stands before the bare ones too: what a
// sign-in costs is not crumbgate's. Nor is the header that tells Jenkins of it, without
// which there would be no use in signing in.
const (
	signIn  = "vars user " + user + "\n"
	telling = "reverse_proxy GATED {\nheader_up X-Forwarded-User {http.vars.user}\n}\n"
)

// The sites without a gate lead to the same upstream.
const (
	gated    = "crumbgate {\ninsecure_unguarded_upstreams allow\n}\nreverse_proxy GATED\n"
	signedIn = "crumbgate {\ninsecure_unguarded_upstreams allow\nsession {\nuser {http.vars.user}\n}\n}\nreverse_proxy GATED\n"
)

// A password for basic_auth, as long as a token, and what `caddy hash-password`
// made of it at its default cost.
const (
	password     = "not-a-secret-0123456789abcdefghijklmnop"
	passwordHash = "$2a$14$y/6PE35ar6Ck.WfttzyaguQUHY4.23ZSUYTeje4RxCVf4qdHRH6g2"
)

// choose returns the variants named in a list, with those that they are compared
// to, in the order of variants; all of them for the empty list.
func choose(list string) ([]variant, error) {
	if list == "" {
		return variants, nil
	}
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(variants, func(v variant) bool { return v.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no variant %q", name)
		}
		wanted[name] = true
		wanted[variants[i].base] = true
	}
	return slices.DeleteFunc(slices.Clone(variants), func(v variant) bool { return !wanted[v.name] }), nil
}

// compare measures the chosen variants and adds what it finds to r.
func compare(ctx context.Context, s settings, dir, binary string, up upstream, chosen []variant, r *report) error {
	ports, err := freePorts(len(chosen))
	if err != nil {
		return err
	}
	var sites strings.Builder
	addresses := strings.NewReplacer("DIRECT", up.Direct, "GATED", up.Gated, "YES", up.Yes)
	for i, v := range chosen {
		sites.WriteString(site(ports[i], addresses.Replace(v.site)))
	}
	withGate := slices.ContainsFunc(chosen, variant.gated)
	gate, err := startCaddy(ctx, dir, binary, sites.String(), withGate)
	if err != nil {
		return err
	}
	defer gate.stop()
	secret, limited := password, password
	if withGate {
		if secret, err = gate.createToken(ctx, "bench"); err != nil {
			return err
		}
		if limited, err = gate.createToken(ctx, "limited", "--scope", "build:team/**", "--scope", "read:bench", "--source", "127.0.0.0/8"); err != nil {
			return err
		}
	}

	targets := make([]target, len(chosen))
	r.Variants = make([]*measurement, len(chosen))
	for i, v := range chosen {
		own := cmp.Or(v.secret, secret)
		if v.scoped {
			own = limited
		}
		targets[i] = v.target(fmt.Sprintf("127.0.0.1:%d", ports[i]), own)
		r.Variants[i] = newMeasurement(v)
		progress("warming up %s", v.name)
		if _, err := measure(ctx, targets[i], s.Conns, s.Duration); err != nil {
			return gate.explain(fmt.Errorf("%s: %w", v.name, err))
		}
	}
	for round := range s.Rounds {
		for step := range chosen {
			i := step
			if round%2 == 1 { // backwards, so that a steady drift cancels out
				i = len(chosen) - 1 - step
			}
			got, cpu, err := gate.measure(ctx, targets[i], s.Conns, s.Duration)
			if err != nil {
				return gate.explain(fmt.Errorf("%s: %w", chosen[i].name, err))
			}
			r.Variants[i].add(got, cpu)
			progress("round %d/%d  %-15s  %7.0f/s", round+1, s.Rounds, chosen[i].name, got.perSecond())
		}
	}
	seen, err := up.counts(ctx)
	if err != nil {
		return err
	}
	if seen.Refused > 0 {
		return gate.explain(fmt.Errorf("the upstream refused %d requests for want of a crumb or an identity", seen.Refused))
	}
	r.Upstream = seen
	return nil
}

// target renders the request of a variant, once for each secret.
func (v variant) target(addr string, secrets ...string) target {
	t := target{addr: addr, status: http.StatusOK, body: getBody}
	line, end := "GET /job/bench/api/json", "\r\n"
	if v.post {
		t.status, t.body = http.StatusCreated, ""
		line = "POST /job/bench/buildWithParameters"
		form := "BRANCH=main&REVISION=0123456789abcdef0123456789abcdef01234567"
		end = fmt.Sprintf("Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s", len(form), form)
	}
	if v.crumb {
		end = "Jenkins-Crumb: " + crumb + "\r\n" + end
	}
	if v.crumb || v.fetch {
		end = "Cookie: " + cookie + "\r\n" + end
	}
	if v.fetch {
		start := fetchHeader
		if v.post {
			start += "Origin: https://jenkins.example\r\n"
		}
		t.requests = [][]byte{[]byte(line + " HTTP/1.1\r\n" + start + end)}
		return t
	}
	for _, secret := range secrets {
		t.requests = append(t.requests, []byte(line+" HTTP/1.1\r\n"+
			requestsHeader+"Authorization: "+basic(user, secret)+"\r\n"+end))
	}
	return t
}

// requestsHeader is what Python's requests sends of its own accord.
const requestsHeader = "Host: jenkins.example\r\n" +
	"User-Agent: python-requests/2.32.3\r\n" +
	"Accept-Encoding: gzip, deflate\r\n" +
	"Accept: */*\r\n" +
	"Connection: keep-alive\r\n"

// fetchHeader is what Chromium 143 sends when a page of Jenkins calls fetch, without
// what the page and the request add.
const fetchHeader = "Host: jenkins.example\r\n" +
	"Connection: keep-alive\r\n" +
	`sec-ch-ua-platform: "Linux"` + "\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/143.0.0.0 Safari/537.36\r\n" +
	`sec-ch-ua: "Google Chrome";v="143", "Chromium";v="143", "Not A(Brand";v="24"` + "\r\n" +
	"sec-ch-ua-mobile: ?0\r\n" +
	"Accept: */*\r\n" +
	"Sec-Fetch-Site: same-origin\r\n" +
	"Sec-Fetch-Mode: cors\r\n" +
	"Sec-Fetch-Dest: empty\r\n" +
	"Referer: https://jenkins.example/job/bench/\r\n" +
	"Accept-Encoding: gzip, deflate, br, zstd\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\n"

func progress(format string, args ...any) {
	fmt.Fprintf(os.Stderr, format+"\n", args...)
}
