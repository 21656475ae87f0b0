package program

import (
	"encoding/binary"
	"fmt"
	"net"
	"path/filepath"
	"testing"
	"time"

	"bigpanda-udf/test"
)

// P7: connections with large frames that do not end cost a daemon nothing before
// Init, and behind it nothing once they have ended.
func TestMemoryOfADaemonGoesBack(t *testing.T) {
	t.Parallel()
	_, env := test.NewBigPanda(t)
	path := filepath.Join(test.SocketDir(t), "s")
	f := test.Launch(t, env, "serve", "--socket", path)
	const connections, size, little = 4, 40 << 20, 60 << 20
	frame := append(binary.AppendUvarint(nil, size+1), make([]byte, size)...)
	begin := memoryOf(t, f, "VmRSS")

	for range connections {
		conn := test.Dial(t, path)
		conn.Write(frame) // fails once it is sent away
		conn.Close()
	}
	if most := memoryOf(t, f, "VmHWM"); most > begin+little {
		t.Errorf("before Init it takes %d MiB", most>>20)
	}

	var open []net.Conn
	for i := range connections {
		conn := test.Dial(t, path)
		if _, err := conn.Write(test.Frames(test.Init(fmt.Sprint("t", i), "n"))); err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Read(make([]byte, 1)); err != nil { // Init was answered
			t.Fatal(err)
		}
		if _, err := conn.Write(frame); err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
	}
	if most := memoryOf(t, f, "VmHWM"); most < connections*size/2 {
		t.Errorf("it takes only %d MiB: this tests nothing", most>>20)
	}
	for _, conn := range open {
		conn.Close()
	}
	if test.Race {
		return // what the race detector notes of the memory stays
	}
	for deadline := time.Now().Add(test.Patient); memoryOf(t, f, "VmRSS") > begin+little; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("after the connections it has %d MiB", memoryOf(t, f, "VmRSS")>>20)
		}
	}
}
