package e2e

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

// What BigPanda was told survives the server in a snapshot, too, where there is
// no outbox on disk: an alert that is still open is not sent again, and its OK,
// seen by another process, resolves it.
func TestSnapshotOverARestart(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name  string
		again []level // what the points after the restart say
		end   func(*kapacitor)
	}{
		{name: "stopped", again: []level{critical, critical, ok}, end: (*kapacitor).stop},
		{name: "killed", again: []level{critical, critical, ok}, end: (*kapacitor).kill},
		{name: "resolved by the first point", again: []level{ok}, end: (*kapacitor).stop},
		{name: "changed by the first point", again: []level{warning, ok}, end: (*kapacitor).stop},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			panda := startBigPanda(t)
			config := functionConfig(t, panda, map[string]string{"BIGPANDA_OUTBOX": "memory"})
			config["task"] = map[string]any{"snapshot-interval": "100ms"}
			k := startKapacitor(t, config)
			k.define("cpu", withTopic())
			k.write(fmt.Sprintf("cpu,host=h usage=95 %d", at(0)))
			wantStatuses(t, panda.waitForCount(1), "critical")
			k.waitForSnapshot("cpu")

			test.end(k)
			k.start()
			for i, level := range test.again {
				k.write(fmt.Sprintf("cpu,host=h usage=%d %d", level.usage, at(10*(i+1))))
			}
			want := statusesOf(changes(append([]level{critical}, test.again...)))
			// The last is an OK: an alert that was sent again comes before it.
			events := panda.waitForCount(len(want))
			wantStatuses(t, events, want...)
			wantClean(t, events)
			if alerts := panda.Alerts(); len(alerts) != 1 || alerts[0].Status != "ok" {
				t.Errorf("BigPanda shows %+v, want one alert that is ok", alerts)
			}
		})
	}
}

// waitForSnapshot waits until the server keeps a snapshot of the task in which the
// function knows of an open alert and nothing waits for delivery. That of the task may
// have come after the alert node's state and before the function's.
func (k *kapacitor) waitForSnapshot(id string) {
	k.t.Helper()
	k.eventually("a snapshot of task "+id+" is kept", func() string {
		switch snapshot := k.snapshot(id); {
		case !bytes.Contains(snapshot, []byte(`"levels"`)):
			return "there is none with the alert"
		case bytes.Contains(snapshot, []byte(`"changes"`)):
			return "it holds what is not delivered yet"
		}
		return ""
	})
}

// snapshot returns the snapshot that the server keeps of a task, or nil. It
// stands in the server's database (services/task_store/dao.go), of which the
// server gives out copies.
func (k *kapacitor) snapshot(id string) []byte {
	k.t.Helper()
	path := filepath.Join(k.t.TempDir(), "copy.db")
	if err := os.WriteFile(path, k.call("GET", "/storage/backup", nil), 0o600); err != nil {
		k.t.Fatal(err)
	}
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{ReadOnly: true})
	if err != nil {
		k.t.Fatal(err)
	}
	defer db.Close()
	var snapshot []byte
	err = db.View(func(tx *bbolt.Tx) error {
		if bucket := tx.Bucket([]byte("task_store")); bucket != nil {
			snapshot = bytes.Clone(bucket.Get([]byte("/snapshots/data/" + id)))
		}
		return nil
	})
	if err != nil {
		k.t.Fatal(err)
	}
	return snapshot
}
