package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"

	"bigpanda-udf/config"
)

// stopsWithin is how long requests that are under way may take to end once what
// serves them is told to stop. None hangs then.
const stopsWithin = 2 * time.Second

// listen opens what a flag says.
func listen(flag, address string) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, usagef("--%s is %q: write an address with its port, such as 127.0.0.1:8089", flag, config.Shown(address))
	}
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s is taken: stop what listens there, or choose another port with --%s, 0 for a free one", address, flag)
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return l, nil
}

// hostNames are the names that others on the network know what listens at an address
// by: the address's own host, and the machine.
func hostNames(address string) (names []string) {
	if host, _, _ := net.SplitHostPort(address); host != "" { // what is no address is said elsewhere
		names = append(names, host)
	}
	if name, err := os.Hostname(); err == nil && name != "" {
		names = append(names, name)
	}
	return names
}

// serveHTTP serves until ctx is done, and closes the listener. Requests that are under
// way get a moment to end.
func serveHTTP(ctx context.Context, l net.Listener, s *http.Server) error {
	failed := make(chan error, 1)
	go func() { failed <- s.Serve(l) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	bounded, cancel := context.WithTimeout(context.Background(), stopsWithin)
	defer cancel()
	if s.Shutdown(bounded) != nil {
		s.Close()
	}
	<-failed
	return nil
}
