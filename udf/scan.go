package udf

import (
	"encoding/binary"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// The tags of agent.Point's fields on the wire (udf/agent/udf.proto), each one
// byte: the number, and the type.
const (
	wireTime            = 1<<3 | byte(protowire.VarintType)
	wireName            = 2<<3 | byte(protowire.BytesType)
	wireDatabase        = 3<<3 | byte(protowire.BytesType)
	wireRetentionPolicy = 4<<3 | byte(protowire.BytesType)
	wireGroup           = 5<<3 | byte(protowire.BytesType)
	wireDimensions      = 6<<3 | byte(protowire.BytesType)
	wireTags            = 7<<3 | byte(protowire.BytesType)
	wireFieldsDouble    = 8<<3 | byte(protowire.BytesType)
	wireFieldsInt       = 9<<3 | byte(protowire.BytesType)
	wireFieldsString    = 10<<3 | byte(protowire.BytesType)
	wireByName          = 11<<3 | byte(protowire.VarintType)
	wireFieldsBool      = 12<<3 | byte(protowire.BytesType)

	wireKey         = 1<<3 | byte(protowire.BytesType)
	wireTextValue   = 2<<3 | byte(protowire.BytesType)
	wireDoubleValue = 2<<3 | byte(protowire.Fixed64Type)
	wireVarintValue = 2<<3 | byte(protowire.VarintType)
)

// A scanner reads through the bytes of a point. end is where the part ends that
// is being read.
//
// Whether texts are UTF-8 is asked of as many as stand together at once: the
// tags and lengths between them are ASCII, if they are one byte each.
type scanner struct {
	data []byte
	at   int
	text int  // from here to at nothing was asked yet
	bad  bool // nothing of what was read counts
}

// entry reads an entry of a map. valueTag stands before its value.
func (s *scanner) entry(kind kind, valueTag byte) entry {
	e := entry{kind: kind}
	start, end := s.length(len(s.data))
	if s.plainEntry(&e, s.data[start:end], valueTag) {
		return e
	}
	for s.at < end {
		tag := s.data[s.at]
		s.at++
		switch {
		case tag == wireKey:
			e.name = s.span(end)
		case tag != valueTag:
			s.fail(end)
		case tag == wireTextValue:
			e.text = s.span(end)
		case tag == wireDoubleValue:
			e.number = s.double(end)
		default:
			e.number = s.varint(end)
		}
	}
	return e
}

// plainEntry reads the entry that b holds if it is as nearly all are, with one
// key and one value behind it, and lengths of one byte: most of a point is
// entries, and this takes half the time.
func (s *scanner) plainEntry(e *entry, b []byte, valueTag byte) bool {
	if len(b) < 2 || b[0] != wireKey || b[1] >= 0x80 {
		return false
	}
	value := 2 + int(b[1])
	if value+1 >= len(b) || b[value] != valueTag {
		return false
	}
	e.name = span{uint32(s.at + 2), uint32(s.at + value)}
	value++
	switch {
	case valueTag == wireTextValue && b[value] < 0x80 && value+1+int(b[value]) == len(b):
		e.text = span{uint32(s.at + value + 1), uint32(s.at + len(b))}
		s.at += len(b)
	case valueTag == wireVarintValue && b[value] < 0x80 && value+1 == len(b):
		e.number = uint64(b[value])
		s.at += len(b)
	case valueTag == wireDoubleValue && value+8 == len(b):
		e.number = binary.LittleEndian.Uint64(b[value:])
		end := s.at + len(b)
		s.at += value
		s.cut(end)
	default:
		return false
	}
	return true
}

func (s *scanner) span(end int) span {
	from, to := s.length(end)
	s.at = to
	return span{uint32(from), uint32(to)}
}

// length reads a length, and returns from where to where it goes.
func (s *scanner) length(end int) (from, to int) {
	// Nearly all are less than 128.
	if s.at < end && int(s.data[s.at]) < min(0x80, end-s.at) {
		s.at++
		return s.at, s.at + int(s.data[s.at-1])
	}
	return s.longLength(end)
}

func (s *scanner) longLength(end int) (from, to int) {
	n := s.longVarint(end)
	if n > uint64(end-s.at) {
		s.fail(end)
		return end, end
	}
	return s.at, s.at + int(n)
}

func (s *scanner) varint(end int) uint64 {
	if s.at < end && s.data[s.at] < 0x80 {
		s.at++
		return uint64(s.data[s.at-1])
	}
	return s.longVarint(end)
}

func (s *scanner) longVarint(end int) uint64 {
	n, size := protowire.ConsumeVarint(s.data[s.at:end])
	if size < 0 {
		s.fail(end)
		return 0
	}
	s.cut(s.at + size)
	return n
}

func (s *scanner) double(end int) uint64 {
	n, size := protowire.ConsumeFixed64(s.data[s.at:end])
	if size < 0 {
		s.fail(end)
		return 0
	}
	s.cut(s.at + size)
	return n
}

// cut asks about the text before at, and goes on behind what is none.
func (s *scanner) cut(to int) {
	s.bad = s.bad || !utf8.Valid(s.data[s.text:s.at])
	s.text, s.at = to, to
}

func (s *scanner) fail(end int) { s.bad, s.at = true, end }
