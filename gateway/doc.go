// Package gateway is what stands between the network and Jenkins: it decides who
// a request is from, and passes it on as that user.
//
// It trusts the configuration, the token directory and Jenkins behind it, and
// nothing that a client sends. It never passes on an identity that a client
// claims, a credential, or a crumb that it has not brokered itself, and a
// credential that fails is never served as anonymous.
//
// A request goes through Gate.ServeHTTP, top to bottom: scrub (identity.go),
// check (gate.go, credential.go, path.go), forward (forward.go) with the Jenkins
// session and crumb of package crumb.
package gateway
