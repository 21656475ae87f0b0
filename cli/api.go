package cli

import (
	"bigpanda-udf/bigpanda"
	"bigpanda-udf/retry"
)

// A limitedAPI is how the alerts of a process get to BigPanda, from one delivery or
// from many.
type limitedAPI struct {
	*retry.LimitedAPI
	fingerprint func(key []byte) []byte // of the token
}

func newLimitedAPI(client *bigpanda.Client, connections int, perSecond float64) *limitedAPI {
	return &limitedAPI{retry.NewLimitedAPI(client, connections, perSecond), client.Fingerprint}
}
