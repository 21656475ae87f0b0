// Package retry is what a sender does when BigPanda does not take its alerts: how
// long it waits, what it holds back, and how it finds what is at fault. What fails
// is held back no further than the fault reaches:
//
//	every sender  LimitedAPI  BigPanda asks to come later (429)
//	everything    Breaker     the token, the connection, a firewall
//	an app key    Breaker     the app key; BigPanda does not answer for it
//	a batch       Isolation   something in it
//	an alert      Isolated    BigPanda does not answer for it, but for others
//
// A Breaker goes from state to state so:
//
//	          Hold                due                  Claim
//	closed ────────▶ shut ──────────────▶ may be tried ──────▶ a probe is under way
//	  ▲               ▲                                           │         │
//	  │               └──────────────── Failed ───────────────────┘         │
//	  └──────────────────────────────── Accepted ───────────────────────────┘
//
// All constants of the policy are in policy.go. The package knows the API's errors
// (package bigpanda), and neither outbox nor Kapacitor: of a batch it sees the
// number of alerts, and an alert that it keeps is of any type.
package retry
