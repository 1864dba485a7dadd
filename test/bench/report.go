package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A report is what bench.json holds.
type report struct {
	Machine  machine        `json:"machine"`
	Settings settings       `json:"settings"`
	Variants []*measurement `json:"variants"`
	Upstream counts         `json:"upstream"`
	Goals    []goal         `json:"goals"`
}

// A machine is what the numbers hold for.
type machine struct {
	Time       time.Time `json:"time"`
	Commit     string    `json:"commit"` // with -dirty for uncommitted changes
	Go         string    `json:"go"`
	GOOS       string    `json:"goos"`
	GOARCH     string    `json:"goarch"`
	GOMAXPROCS int       `json:"gomaxprocs"`
	CPU        string    `json:"cpu"`
	Load       string    `json:"loadavg"` // before the run: above 0.5, somebody else was at work
}

func describeMachine(ctx context.Context) machine {
	m := machine{
		Time: time.Now().UTC().Truncate(time.Second), Go: runtime.Version(),
		GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, GOMAXPROCS: runtime.GOMAXPROCS(0),
	}
	commit, _ := exec.CommandContext(ctx, "git", "describe", "--always", "--dirty", "--abbrev=12").Output()
	m.Commit = string(bytes.TrimSpace(commit))
	cpuinfo, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(cpuinfo)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	m.Load = strings.Join(strings.Fields(string(load))[:3], " ")
	return m
}

// A measurement is everything about one variant.
type measurement struct {
	Name string `json:"name"`
	What string `json:"what"`
	Base string `json:"base,omitempty"`

	Requests   int64    `json:"requests"`
	PerSecond  spread   `json:"per_second"`
	OfBase     *spread  `json:"of_base,omitempty"` // of the ratios to the base in the same round
	P50        int64    `json:"p50_us"`            // over all rounds
	P99        int64    `json:"p99_us"`
	CPUPerCall float64  `json:"caddy_cpu_us"` // CPU time of the Caddy process by request
	Rounds     []*round `json:"rounds"`

	cpu     time.Duration
	latency *hdrhistogram.Histogram
}

// A round is one sample of one variant.
type round struct {
	Requests  int64   `json:"requests"`
	Elapsed   float64 `json:"elapsed_s"`
	PerSecond float64 `json:"per_second"`
	OfBase    float64 `json:"of_base,omitempty"`
	P50       int64   `json:"p50_us"`
	P99       int64   `json:"p99_us"`
	CPU       float64 `json:"caddy_cpu_s"`
}

// A spread is the middle of some values: their median and quartiles.
type spread struct {
	Q1     float64 `json:"q1"`
	Median float64 `json:"median"`
	Q3     float64 `json:"q3"`
}

// A goal is a ratio of throughputs, or a value, that the project has set itself.
type goal struct {
	Name     string  `json:"name"`
	Goal     float64 `json:"goal"`
	Measured spread  `json:"measured"`
	Met      bool    `json:"met"`
}

func newMeasurement(v variant) *measurement {
	return &measurement{Name: v.name, What: v.what, Base: v.base, latency: newLatency()}
}

// add takes up the sample of a round, and what Caddy spent on it.
func (m *measurement) add(s sample, cpu time.Duration) {
	m.Rounds = append(m.Rounds, &round{
		Requests: s.requests, Elapsed: s.elapsed.Seconds(), PerSecond: s.perSecond(),
		P50: s.latency.ValueAtQuantile(50), P99: s.latency.ValueAtQuantile(99), CPU: cpu.Seconds(),
	})
	m.Requests += s.requests
	m.cpu += cpu
	m.latency.Merge(s.latency)
}

// conclude derives from the rounds what is reported.
func (r *report) conclude() {
	byName := map[string]*measurement{}
	for _, m := range r.Variants {
		byName[m.Name] = m
	}
	for _, m := range r.Variants {
		var speeds []float64
		for i, each := range m.Rounds {
			speeds = append(speeds, each.PerSecond)
			if base := byName[m.Base]; base != nil {
				each.OfBase = each.PerSecond / base.Rounds[i].PerSecond
			}
		}
		m.PerSecond = spreadOf(speeds)
		m.P50, m.P99 = m.latency.ValueAtQuantile(50), m.latency.ValueAtQuantile(99)
		m.CPUPerCall = float64(m.cpu.Microseconds()) / float64(m.Requests)
		if base := byName[m.Base]; base != nil {
			m.OfBase = new(ratios(m, base))
		}
	}
	for _, g := range []struct {
		name, what, of string
		goal           float64
	}{
		{"token GET of bare GET", "token-get", "bare-get", 0.97},
		{"token POST of bare POST", "token-post", "bare-post", 0.95},
		{"session GET of bare GET", "session-get", "bare-fetch-get", 0.95},
		{"session POST of bare POST", "session-post", "bare-fetch-post", 0.93},
		{"limited token GET of bare", "limited-get", "bare-get", 0.96},
		{"token GET of forward_auth", "token-get", "forward-auth", 1.6},
	} {
		what, of := byName[g.what], byName[g.of]
		if what == nil || of == nil {
			continue
		}
		measured := ratios(what, of)
		r.Goals = append(r.Goals, goal{Name: g.name, Goal: g.goal, Measured: measured, Met: measured.Median >= g.goal})
	}
}

// ratios compares two variants round by round, which takes out whatever slows
// the machine for longer than a round.
func ratios(what, of *measurement) spread {
	var values []float64
	for i := range what.Rounds {
		values = append(values, what.Rounds[i].PerSecond/of.Rounds[i].PerSecond)
	}
	return spreadOf(values)
}

// spreadOf interpolates between neighbours where a quartile falls between two.
func spreadOf(values []float64) spread {
	sorted := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 {
		pos := q * float64(len(sorted)-1)
		i := int(pos)
		if i == len(sorted)-1 {
			return sorted[i]
		}
		return sorted[i] + (pos-float64(i))*(sorted[i+1]-sorted[i])
	}
	return spread{Q1: at(0.25), Median: at(0.5), Q3: at(0.75)}
}

// print writes the report for a person in a hurry.
func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "%s\n%d rounds of %v, %d connections; medians, in brackets the quartiles\n\n",
		r.Machine, r.Settings.Rounds, r.Settings.Duration, r.Settings.Conns)
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "variant\treq/s\tof bare\t\tp50 ms\tp99 ms\tCaddy's CPU µs\twhat")
	for _, m := range r.Variants {
		ratio := "\t"
		if m.OfBase != nil {
			ratio = fmt.Sprintf("%.3f\t[%.3f %.3f]", m.OfBase.Median, m.OfBase.Q1, m.OfBase.Q3)
		}
		fmt.Fprintf(t, "%s\t%.0f\t%s\t%.2f\t%.2f\t%.1f\t%s\n", m.Name, m.PerSecond.Median, ratio,
			float64(m.P50)/1000, float64(m.P99)/1000, m.CPUPerCall, m.What)
	}
	t.Flush()
	fmt.Fprintf(w, "\nThe upstream issued %d crumbs and refused %d requests.\n\n", r.Upstream.Crumbs, r.Upstream.Refused)
	printGoals(w, ">=", r.Goals)
}

func (m machine) String() string {
	return fmt.Sprintf("%s, %s %s/%s, GOMAXPROCS %d, %s, load before %s, commit %s", m.Time.Format(time.DateTime+"Z"),
		m.Go, m.GOOS, m.GOARCH, m.GOMAXPROCS, m.CPU, m.Load, cmp.Or(m.Commit, "unknown"))
}

// printGoals writes each goal beside what was measured; relation is how the two
// should stand.
func printGoals(w io.Writer, relation string, goals []goal) {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "goal\t\tmeasured\t\t")
	for _, g := range goals {
		met := "NOT MET"
		if g.Met {
			met = "met"
		}
		fmt.Fprintf(t, "%s\t%s %.4g\t%.3f\t[%.3f %.3f]\t%s\n", g.Name, relation, g.Goal, g.Measured.Median, g.Measured.Q1, g.Measured.Q3, met)
	}
	t.Flush()
}

// writeJSON writes value to the file out, and its directory if need be.
func writeJSON(out string, value any) error {
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, append(data, '\n'), 0o644)
}
