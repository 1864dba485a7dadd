package endpoint

import (
	"slices"
	"strings"
)

// This is the one list of what is secret. The log format hides it, the gateway takes it off a request that it is done with,
// and no setting may give one of CredentialHeaders another meaning.

// CredentialHeaders are the headers that carry a client's credentials or sessions. Caddy hides them in logs by itself.
var CredentialHeaders = []string{"Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie"}

// crumbs are the headers and parameters of Jenkins' default crumb issuer, by its names of all versions.
var crumbs = []string{"Jenkins-Crumb", ".crumb", "crumb"}

// everywhere are headers and parameters that are secret on no endpoint of the Catalogue in particular.
var everywhere = []string{
	"Token",                            // of a job: build?token=
	"newTokenPlainValue", "tokenValue", // jenkins.security.ApiTokenProperty
	"X-Jenkins-ValidateButton-Callback", // changeToken answers with a token there
	"password",
	// What sign-ins and forges put into headers and parameters.
	"access_token", "id_token", "refresh_token", "client_secret", "id_token_hint", "logout_token", "client_assertion", "code_verifier",
	"X-Forwarded-Access-Token", "X-Auth-Request-Access-Token", "X-Access-Token", "X-Id-Token", "X-Authentik-Jwt", "X-Pomerium-Jwt-Assertion",
	"Cf-Access-Jwt-Assertion", "X-Goog-Iap-Jwt-Assertion", "X-Amzn-Oidc-Accesstoken", "X-Amzn-Oidc-Data", "X-Api-Key", "Private-Token",
}

// SecretNames returns the headers and parameters whose values are secret, whatever has them: a request, an answer, JSON.
func SecretNames() []string {
	names := slices.Concat(CredentialHeaders, crumbs, everywhere)
	for _, e := range Catalogue {
		names = append(names, e.Secrets...)
	}
	return names
}

// SecretParameters returns those whose values are secret as parameters alone: their names mean something else in JSON.
func SecretParameters() []string {
	var names []string
	for _, e := range Catalogue {
		names = append(names, e.SecretParameters...)
	}
	return names
}

// A SecretPath is a path, with a slash at its end, behind which a segment is secret unless it is one of the names Known.
type SecretPath struct {
	Before string
	Known  []string
}

// SecretPaths returns the paths of the Catalogue that hold a secret.
func SecretPaths() []SecretPath {
	var paths []SecretPath
	for _, e := range Catalogue {
		if e.SecretPath.Before != "" {
			paths = append(paths, e.SecretPath)
		}
	}
	return paths
}

// NamesWhatFollows reports whether the last segment of a path takes the next one as the name of an object: /job/metrics/12
// is a build of the job metrics.
func NamesWhatFollows(path string) bool { return takesName(path[strings.LastIndexByte(path, '/')+1:]) }
