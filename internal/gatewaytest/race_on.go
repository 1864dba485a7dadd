//go:build race

package gatewaytest

// raceDetector: tests that run with the detector run a gateway with it.
const raceDetector = true
