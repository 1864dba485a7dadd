package selfservice

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// A snippet is what can be pasted into the settings of a client.
type snippet struct{ ID, Title, Hint, Text string }

// snippets are written for a user and a secret. The user's id may have any printable
// characters, so that each format quotes it in its own way.
func snippets(jenkins, user, secret string) []snippet {
	host := jenkins
	if u, err := url.Parse(jenkins); err == nil {
		host = u.Hostname()
	}
	return []snippet{
		{"curl", "curl", "For a try: the shell keeps it in its history. For scripts, .netrc is better.",
			"curl --user " + shell(user+":"+secret) + " \\\n  " + shell(jenkins+"me/api/json")},
		{"netrc", ".netrc", "For curl --netrc, git, Python’s requests and others. Only you should be able to read the file: chmod 600 ~/.netrc",
			"machine " + host + "\nlogin " + netrc(user) + "\npassword " + secret},
		{"spinnaker", "Spinnaker", "For Igor, in igor-local.yml.",
			"jenkins:\n  enabled: true\n  masters:\n    - name: jenkins\n      address: " + quoted(jenkins) +
				"\n      username: " + quoted(user) + "\n      password: " + quoted(secret)},
		{"terraform", "Terraform", "For the provider taiidani/jenkins. In a repository, leave the password out and set JENKINS_PASSWORD.",
			"provider \"jenkins\" {\n  server_url = " + hcl(jenkins) + "\n  username   = " + hcl(user) + "\n  password   = " + hcl(secret) + "\n}"},
	}
}

// shell quotes for POSIX shells.
func shell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

var plainWord = regexp.MustCompile(`^[A-Za-z0-9._@+-]+$`)

// netrc quotes as curl reads it (lib/netrc.c), if it has to.
func netrc(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// quoted is a string in JSON, which is one in YAML too.
func quoted(s string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(s); err != nil {
		panic(err) // strings always encode
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// hcl is a string in HCL, in which ${ and %{ begin templates.
func hcl(s string) string {
	return strings.NewReplacer("${", "$${", "%{", "%%{").Replace(quoted(s))
}

var hostPattern = regexp.MustCompile(`^([A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(:[0-9]{1,5})?$`)

// jenkinsURL is where the browser has Jenkins. Whether that is by TLS the browser
// knows, not the gateway, and says so in Origin.
func (v *visit) jenkinsURL() string {
	host, scheme := v.r.Host, "http"
	if !hostPattern.MatchString(host) {
		host = "jenkins.example.com"
	}
	if v.r.TLS != nil || v.r.Header.Get("Origin") == "https://"+host {
		scheme = "https"
	}
	return fmt.Sprintf("%s://%s%s/", scheme, host, v.JenkinsPrefix)
}
