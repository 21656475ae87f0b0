package program

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"bigpanda-udf/cli"
	"bigpanda-udf/test"
)

// crashWaitVariable is how long a program waits for another one to leave.
const crashWaitVariable = "BIGPANDA_UDF_TEST_WAIT"

// crashTimes are how long a program waits that was started with the variable.
func crashTimes() (times cli.Times) {
	times.Leave, _ = time.ParseDuration(os.Getenv(crashWaitVariable))
	return times
}

// launchDaemon starts a daemon, and connects to it as Kapacitor does. The function
// that it returns has the ends of the connection for stdin and stdout.
func launchDaemon(t testing.TB, environment []string) *test.Function {
	t.Helper()
	socket := filepath.Join(test.SocketDir(t), "s")
	cmd := test.Command(environment, "serve", "--socket", socket)
	f := &test.Function{Cmd: cmd, Log: new(test.LogBuffer), Raw: new(test.LogBuffer), T: t}
	cmd.Stderr = f.Log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for late := time.Now().Add(test.Patient); ; time.Sleep(time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			file, err := conn.(*net.UnixConn).File()
			if err != nil {
				t.Fatal(err)
			}
			f.In, f.Out = daemonInput{conn.(*net.UnixConn), cmd}, file
			return f
		}
		if time.Now().After(late) {
			t.Fatalf("the daemon does not listen: %v\n%s", err, f.Log.String())
		}
	}
}

// daemonInput is stdin of a connection. Its end is that of the daemon.
type daemonInput struct {
	*net.UnixConn
	daemon *exec.Cmd
}

func (d daemonInput) Close() error {
	d.daemon.Process.Signal(syscall.SIGTERM)
	return d.UnixConn.Close()
}
