package blackbox_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crumbgate/crumbgate/gateway/jenkinstest"
	"github.com/crumbgate/crumbgate/internal/gatewaytest"
)

// selfSigned returns a client certificate for a name, which any client can make.
func selfSigned(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		EmailAddresses: []string{name + "@example.org"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// A client certificate names a user, a mail address or groups only if an authority has
// verified it.
func TestUnverifiedClientCertificatesNameNoUser(t *testing.T) {
	trusted, forged := selfSigned(t, "alice"), selfSigned(t, "alice")
	const warning = "a client certificate that no authority has verified names no user"
	for _, c := range []struct {
		mode, session string
		certificate   tls.Certificate
		status        int
		warns         bool
	}{
		{"mode request", "user {http.request.tls.client.subject}", forged, 401, true},
		{"mode require", "user {http.request.tls.client.subject}", forged, 401, true},
		{"mode require", "user {http.request.tls.client.san.emails.0}", forged, 401, true},
		{"mode require", "user {http.vars.person}\n\t\t\tgroups {http.request.tls.client.subject}", forged, 401, true},
		{"mode require", "user {http.vars.person}", forged, 200, false},
		{"mode verify_if_given\n\t\t\ttrust_pool file {$DIR}/trusted.pem", "user {http.request.tls.client.subject}", trusted, 200, false},
		{"mode verify_if_given\n\t\t\ttrust_pool file {$DIR}/trusted.pem", "user {http.request.tls.client.subject}", tls.Certificate{}, 401, false},
	} {
		t.Run(strings.NewReplacer("{", "", "}", "").Replace(c.mode+" "+c.session), func(t *testing.T) {
			jenkins, url := jenkinstest.Start(t, jenkinstest.Config{})
			g := gatewaytest.New(t, url, fmt.Sprintf(`{
	admin {$ADMIN}
	persist_config off
	skip_install_trust
	auto_https disable_redirects
	crumbgate {
		storage bbolt {$STORE}
	}
}
https://localhost:{$PORT} {
	vars person alice
	tls internal {
		client_auth {
			%s
		}
	}
	crumbgate {
		session {
			%s
		}
	}
	reverse_proxy {$JENKINS}
}
`, c.mode, c.session))
			port := g.URL[strings.LastIndex(g.URL, ":")+1:]
			g.Env = append(g.Env, "PORT="+port)
			root := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: trusted.Certificate[0]})
			if err := os.WriteFile(filepath.Join(g.Dir, "trusted.pem"), root, 0o600); err != nil {
				t.Fatal(err)
			}
			g.Start(t)
			config := &tls.Config{InsecureSkipVerify: true}
			if c.certificate.Certificate != nil {
				config.Certificates = []tls.Certificate{c.certificate}
			}
			client := &http.Client{Timeout: gatewaytest.Patience, Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
			gatewaytest.Eventually(t, "the site has its certificate", func() error {
				resp, err := client.Get("https://localhost:" + port + "/job/team/api/json")
				if err != nil {
					return err
				}
				defer resp.Body.Close()
				if resp.StatusCode != c.status && !(c.status == 200 && resp.StatusCode == 404) { // Jenkins has no such job
					t.Errorf("status %d, want %d", resp.StatusCode, c.status)
				}
				return nil
			})
			g.Stop(t) // then all of its log is there
			if reached := len(jenkins.Requests()) > 0; reached != (c.status == 200) {
				t.Errorf("Jenkins got a request: %v", reached)
			}
			if warned := strings.Contains(g.Log(), warning); warned != c.warns {
				t.Errorf("the log warns: %v, want %v", warned, c.warns)
			}
		})
	}
}
