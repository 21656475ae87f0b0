package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"bigpanda-udf/printable"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// handle hands one frame to the handler and adds what comes of it to the piece.
// frame is the whole of it, body what its length counts. end says that the
// session is over without an error.
func (s *session) handle(frame, body []byte) (end bool, err error) {
	if s.mirror != nil {
		if point := pointOf(body); point != nil && !s.mirror.Wants(point) {
			s.dirty = true
			return false, s.echo(frame, nil)
		}
	}
	if err := s.decode(body); err != nil {
		return false, fmt.Errorf("decode frame %d: %w", s.frames, err)
	}
	s.dirty = true
	switch m := s.request.Message.(type) {
	case *agent.Request_Point:
		err = s.handler.Point(m.Point)
		return false, s.echo(frame, err)
	case *agent.Request_Begin:
		err = s.handler.BeginBatch(m.Begin)
		return false, s.echo(frame, err)
	case *agent.Request_End:
		err = s.handler.EndBatch(m.End)
		return false, s.echo(frame, err)
	case *agent.Request_Keepalive:
		return false, s.answer(&agent.Response{Message: &agent.Response_Keepalive{
			Keepalive: &agent.KeepaliveResponse{Time: m.Keepalive.Time},
		}}, nil)
	case *agent.Request_Info:
		info, err := s.handler.Info()
		return false, s.answer(&agent.Response{Message: &agent.Response_Info{Info: info}}, err)
	case *agent.Request_Init:
		res, err := s.handler.Init(m.Init)
		if err == nil && res.GetSuccess() {
			s.ready, s.late = true, nil
			s.in.grow(s.options.MaxFrame)
			s.mirrors = s.mirror != nil && s.mirror.Mirrors()
		}
		err = s.answer(&agent.Response{Message: &agent.Response_Init{Init: res}}, err)
		return !res.GetSuccess(), err
	case *agent.Request_Snapshot:
		res, err := s.handler.Snapshot()
		return false, s.answer(&agent.Response{Message: &agent.Response_Snapshot{Snapshot: res}}, err)
	case *agent.Request_Restore:
		res, err := s.handler.Restore(m.Restore)
		return false, s.answer(&agent.Response{Message: &agent.Response_Restore{Restore: res}}, err)
	}
	panic(fmt.Sprintf("wire: decode let %T pass", s.request.Message))
}

// The field numbers of agent.Request (udf/agent/udf.proto).
const (
	// lastAnswer is the highest that a Response uses for something other than
	// data (error).
	lastAnswer  = 6
	pointNumber = 17
)

// pointTag is before a point in a frame.
var pointTag = protowire.AppendTag(nil, pointNumber, protowire.BytesType)

// pointOf returns the point of a body that holds one and nothing else, and nil
// for every other one.
func pointOf(body []byte) []byte {
	rest, ok := bytes.CutPrefix(body, pointTag)
	if !ok {
		return nil
	}
	point, n := protowire.ConsumeBytes(rest)
	if n != len(rest) {
		return nil
	}
	return point
}

// decode parses body into s.request and refuses what is not one known request.
func (s *session) decode(body []byte) error {
	if len(body) == 0 {
		return errors.New("it is empty")
	}
	if err := proto.Unmarshal(body, &s.request); err != nil {
		return err
	}
	switch s.request.Message.(type) {
	case nil:
		return errors.New("it holds no request that is known")
	case *agent.Request_Begin, *agent.Request_Point, *agent.Request_End:
		if !onlyData(body) {
			return errors.New("it holds data and something else")
		}
	}
	return nil
}

// onlyData tells whether a frame means the same as a request and as a response.
// The two agree on the numbers of data only: what else a data frame carries
// could reach Kapacitor as an answer, or as an error, that nobody gave.
func onlyData(body []byte) bool {
	for len(body) > 0 {
		num, _, n := protowire.ConsumeField(body)
		if n < 0 || num <= lastAnswer {
			return false
		}
		body = body[n:]
	}
	return true
}

// echo adds the frame as it came, if the handler mirrors and took it.
func (s *session) echo(frame []byte, err error) error {
	if err == nil && s.mirrors {
		s.piece = append(s.piece, frame...)
	}
	return err
}

// answer adds res, unless the handler gave an error instead.
func (s *session) answer(res *agent.Response, err error) error {
	if err != nil {
		return err
	}
	// Texts quote what the host was given: file names, settings. A byte that is
	// no UTF-8 must not cost the user the whole answer, and a terminal would obey
	// control characters: Kapacitor shows an error to whoever enables the task.
	switch m := res.Message.(type) {
	case *agent.Response_Init:
		if m.Init != nil {
			m.Init.Error = printable.Text(m.Init.Error)
		}
	case *agent.Response_Restore:
		if m.Restore != nil {
			m.Restore.Error = printable.Text(m.Restore.Error)
		}
	}
	s.piece, err = appendFrame(s.piece, res)
	if err != nil {
		return fmt.Errorf("encode answer to frame %d: %w", s.frames, err)
	}
	return nil
}

// appendFrame adds res with its length in front. After an error b is as it was.
func appendFrame(b []byte, res *agent.Response) ([]byte, error) {
	size := proto.Size(res)
	framed, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(binary.AppendUvarint(b, uint64(size)), res)
	if err != nil {
		return b, err // not framed, which may be nil
	}
	return framed, nil
}
