package outbox_test

import (
	"log/slog"
	"os"
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
		d, err := outbox.Open(memoryDir(t), o)
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

// memoryDir is a folder that is removed after the test, in memory where that is
// possible: each step of a test waits for a disk.
func memoryDir(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "outbox-test-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
