package docker_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// A composeFile is what the tests read of compose.yaml.
type composeFile struct {
	Services map[string]struct {
		Build struct {
			Context    string
			Dockerfile string
		}
		Environment map[string]string
		Ports       []string
		NetworkMode string `yaml:"network_mode"`
		Networks    []string
		Volumes     []string
		DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
		Healthcheck struct{ Test []string }
	}
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
}

func readCompose(t *testing.T) *composeFile {
	t.Helper()
	compose := new(composeFile)
	if err := yaml.Unmarshal([]byte(read(t, "docker/compose.yaml")), compose); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"gateway", "jenkins"} {
		if _, ok := compose.Services[name]; !ok || len(compose.Services) != 2 {
			t.Fatalf("compose.yaml has services %v, want gateway and jenkins", compose.Services)
		}
	}
	return compose
}

func TestComposeLeavesJenkinsBehindTheGateway(t *testing.T) {
	compose := readCompose(t)
	jenkins, gateway := compose.Services["jenkins"], compose.Services["gateway"]
	if len(jenkins.Ports) > 0 || jenkins.NetworkMode != "" {
		t.Errorf("jenkins publishes ports %q, network mode %q; want none", jenkins.Ports, jenkins.NetworkMode)
	}
	if len(jenkins.Networks) == 0 {
		t.Error("jenkins names no network, and so is on the default one")
	}
	for _, name := range jenkins.Networks {
		if !compose.Networks[name].Internal {
			t.Errorf("jenkins is on network %q, which is not internal", name)
		}
		if !slices.Contains(gateway.Networks, name) {
			t.Errorf("the gateway is not on jenkins' network %q", name)
		}
	}
	if gateway.NetworkMode != "" || !slices.ContainsFunc(gateway.Networks, func(name string) bool {
		return !compose.Networks[name].Internal
	}) {
		t.Errorf("the gateway is on networks %q alone, and can't publish its port", gateway.Networks)
	}
	if want := []string{"127.0.0.1:8000:8000"}; !slices.Equal(gateway.Ports, want) {
		t.Errorf("the gateway publishes %q, want %q: tokens in clear text stay on this machine", gateway.Ports, want)
	}
	if got := gateway.Environment["JENKINS_URL"]; got != "jenkins:8080" {
		t.Errorf("the gateway sends requests to %q, want jenkins:8080", got)
	}
	if got := gateway.DependsOn["jenkins"].Condition; got != "service_healthy" || len(jenkins.Healthcheck.Test) == 0 {
		t.Errorf("the gateway waits for jenkins to be %q, checked by %q; want service_healthy and a check", got, jenkins.Healthcheck.Test)
	}
}

func TestComposeNamesWhatExists(t *testing.T) {
	compose := readCompose(t)
	for name, service := range compose.Services {
		context := filepath.Join(root, "docker", service.Build.Context)
		dockerfile := service.Build.Dockerfile
		if dockerfile == "" {
			dockerfile = "Dockerfile"
		}
		text, err := os.ReadFile(filepath.Join(context, dockerfile))
		if err != nil {
			t.Errorf("service %s: %v", name, err)
		}
		var copies int
		for _, m := range regexp.MustCompile(`(?m)^COPY ([^-\s]\S*) `).FindAllStringSubmatch(string(text), -1) {
			copies++
			if _, err := os.Stat(filepath.Join(context, m[1])); err != nil {
				t.Errorf("service %s copies what is not there: %v", name, err)
			}
		}
		if copies == 0 {
			t.Errorf("service %s: its Dockerfile copies nothing from the context", name)
		}
		for _, network := range service.Networks {
			if _, ok := compose.Networks[network]; !ok {
				t.Errorf("service %s: network %q is not declared", name, network)
			}
		}
		for _, volume := range service.Volumes {
			source, target, _ := strings.Cut(volume, ":")
			if strings.ContainsAny(source, "./") {
				if _, err := os.Stat(filepath.Join(root, "docker", source)); err != nil {
					t.Errorf("service %s mounts what is not there: %v", name, err)
				}
			} else if _, ok := compose.Volumes[source]; !ok {
				t.Errorf("service %s: volume %q is not declared", name, source)
			}
			if target == "" {
				t.Errorf("service %s: volume %q has no target", name, volume)
			}
		}
	}
	if got, want := compose.Services["gateway"].Volumes, []string{"gateway:/data"}; !slices.Equal(got, want) {
		t.Errorf("the gateway mounts %q, want %q, the volume of its image", got, want)
	}
}

// TestJenkinsConfiguration compares the configuration as code with what the
// gateway sends and with the rule that anonymous gets nothing.
func TestJenkinsConfiguration(t *testing.T) {
	type holder struct {
		Name        string
		Permissions []string
	}
	var casc struct {
		Jenkins struct {
			SecurityRealm         map[string]map[string]string `yaml:"securityRealm"`
			AuthorizationStrategy map[string]struct {
				Entries []map[string]holder
			} `yaml:"authorizationStrategy"`
			SlaveAgentPort int `yaml:"slaveAgentPort"`
		}
		Unclassified struct {
			Location struct{ URL string }
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "docker/jenkins/casc.yaml")), &casc); err != nil {
		t.Fatal(err)
	}
	if len(casc.Jenkins.SecurityRealm) != 1 {
		t.Fatalf("security realms = %v, want one", casc.Jenkins.SecurityRealm)
	}
	realm := casc.Jenkins.SecurityRealm["reverseProxy"]
	for setting, want := range map[string]string{
		"forwardedUser":         "X-Forwarded-User",
		"forwardedEmail":        "X-Forwarded-Mail",
		"forwardedDisplayName":  "X-Forwarded-DisplayName",
		"headerGroups":          "X-Forwarded-Groups",
		"headerGroupsDelimiter": "|",
	} {
		if realm[setting] != want {
			t.Errorf("%s = %q, want %q", setting, realm[setting], want)
		}
	}

	entries := casc.Jenkins.AuthorizationStrategy["globalMatrix"].Entries
	if len(entries) == 0 || len(casc.Jenkins.AuthorizationStrategy) != 1 {
		t.Fatalf("authorization = %v, want globalMatrix with entries", casc.Jenkins.AuthorizationStrategy)
	}
	var administrators []string
	for _, entry := range entries {
		for kind, h := range entry {
			if strings.EqualFold(h.Name, "anonymous") {
				t.Errorf("%s %s may %q, want nothing for anonymous", kind, h.Name, h.Permissions)
			}
			if slices.Contains(h.Permissions, "Overall/Administer") {
				administrators = append(administrators, kind+" "+h.Name)
			}
		}
	}
	if want := []string{"user admin"}; !slices.Equal(administrators, want) {
		t.Errorf("administrators = %q, want %q", administrators, want)
	}
	if casc.Jenkins.SlaveAgentPort != -1 {
		t.Errorf("agent port = %d, want -1, closed: it is a way in past the gateway", casc.Jenkins.SlaveAgentPort)
	}

	jenkins := readCompose(t).Services["jenkins"]
	public := jenkins.Environment["JENKINS_PUBLIC_URL"]
	if want := "${JENKINS_PUBLIC_URL:-" + public + "}"; public == "" || casc.Unclassified.Location.URL != want {
		t.Errorf("location = %q, want %q, the gateway's address in compose.yaml", casc.Unclassified.Location.URL, want)
	}
	dockerfile := read(t, "docker/jenkins/Dockerfile")
	for _, want := range []string{
		"FROM jenkins/jenkins:lts-jdk21\n",
		"COPY casc.yaml /etc/jenkins/casc.yaml\n",
		"CASC_JENKINS_CONFIG=/etc/jenkins/casc.yaml",
		"-Djenkins.install.runSetupWizard=false",
		"jenkins-plugin-cli --plugin-file /usr/share/jenkins/ref/plugins.txt",
	} {
		if !strings.Contains(dockerfile, want) {
			t.Errorf("docker/jenkins/Dockerfile has no %q", want)
		}
	}
}

// TestJenkinsPlugins reads the list as jenkins-plugin-cli does: a line is a
// plugin's name, or its name and version, or a comment.
func TestJenkinsPlugins(t *testing.T) {
	plugin := regexp.MustCompile(`^([a-z0-9-]+)(?::[\w.-]+)?$`)
	var got []string
	for line := range strings.Lines(read(t, "docker/jenkins/plugins.txt")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "#") {
			continue
		}
		m := plugin.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("%q names no plugin", line)
			continue
		}
		got = append(got, m[1])
	}
	// One for each key of casc.yaml that Jenkins itself does not know, and the
	// one that reads that file.
	want := []string{"configuration-as-code", "matrix-auth", "reverse-proxy-auth-plugin"}
	if !slices.Equal(got, want) {
		t.Errorf("plugins = %q, want %q", got, want)
	}
}

// TestDockerfileCompilesWithTheModulesGo keeps the base image from falling
// behind go.mod: the build would then fetch a toolchain, or fail.
func TestDockerfileCompilesWithTheModulesGo(t *testing.T) {
	m := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(read(t, "go.mod"))
	if m == nil {
		t.Fatal("go.mod has no go line")
	}
	if want := "FROM golang:" + m[1] + " AS build\n"; !strings.Contains(read(t, "docker/Dockerfile"), want) {
		t.Errorf("docker/Dockerfile has no %q", want)
	}
}
