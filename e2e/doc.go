// Package e2e runs the function under the real Kapacitor server, against the
// sandbox as BigPanda. It has tests only.
//
// Each test has a server of its own, in a folder of its own, so tests share
// nothing but the two programs that TestMain builds. They see what a user of
// Kapacitor and of BigPanda sees, and nothing of the function's insides.
package e2e
