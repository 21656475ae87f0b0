package outbox_test

import (
	"log/slog"
	"testing"

	"bigpanda-udf/outbox"
	"bigpanda-udf/outbox/outboxtest"
	"bigpanda-udf/test"
)

func TestDisk(t *testing.T) {
	t.Parallel()
	outboxtest.Run(t, func(t *testing.T, limit int64) outboxtest.Outbox {
		o := outbox.Options{
			Task: "cpu alert", Node: "bigpanda3", URL: "http://127.0.0.1/",
			Fingerprint: func(key []byte) []byte { return append(key[:len(key):len(key)], "token"...) },
			MaxSize:     limit,
			Log:         slog.New(slog.DiscardHandler),
		}
		outbox.WithoutControl(&o)
		d, err := outbox.Open(test.MemoryDir(t), o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := d.Close(); err != nil {
				t.Error(err)
			}
		})
		return d
	}, outboxtest.Length{Seeds: outbox.Rounds(4, test.Volume(2, 1)), Steps: test.Volume(500, 200)})
}
