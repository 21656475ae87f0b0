// Command points is Kapacitor, as far as it speaks to a function of the task TASK:
// it sends Init, and one critical point of each HOST, to stdout or to the socket of a
// daemon, of which it then prints what that answers.
//
//	points [-socket PATH] TASK HOST…
package main

import (
	"flag"
	"io"
	"log"
	"net"
	"os"

	"bigpanda-udf/test"
)

func main() {
	socket := flag.String("socket", "", "where a daemon listens")
	flag.Parse()
	frames := test.Frames(test.Info(), test.Init(flag.Arg(0), "bigpanda2"))
	for i, host := range flag.Args()[1:] {
		frames = append(frames, test.Frames(test.Point(host, "CRITICAL", 1700000000+int64(i)))...)
	}
	if *socket == "" {
		os.Stdout.Write(frames)
		return
	}
	conn, err := net.Dial("unix", *socket)
	if err != nil {
		log.Fatal(err)
	}
	conn.Write(frames)
	conn.(*net.UnixConn).CloseWrite()
	if _, err := io.Copy(os.Stdout, conn); err != nil {
		log.Fatal(err)
	}
}
