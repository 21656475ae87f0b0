package test

import (
	"encoding/binary"

	"github.com/influxdata/kapacitor/udf/agent"
	"google.golang.org/protobuf/proto"
)

// Info asks for Info.
func Info() *agent.Request {
	return &agent.Request{Message: &agent.Request_Info{Info: &agent.InfoRequest{}}}
}

// Init tells a function whose it is, and its options.
func Init(task, node string, options ...*agent.Option) *agent.Request {
	return &agent.Request{Message: &agent.Request_Init{Init: &agent.InitRequest{TaskID: task, NodeID: node, Options: options}}}
}

// Keepalive asks for an answer with the number n.
func Keepalive(n int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Keepalive{Keepalive: &agent.KeepaliveRequest{Time: n}}}
}

// Snapshot asks for a snapshot.
func Snapshot() *agent.Request {
	return &agent.Request{Message: &agent.Request_Snapshot{Snapshot: &agent.SnapshotRequest{}}}
}

// Restore hands over what a snapshot held.
func Restore(snapshot []byte) *agent.Request {
	return &agent.Request{Message: &agent.Request_Restore{Restore: &agent.RestoreRequest{Snapshot: snapshot}}}
}

// Point is a point of a host's CPU at a second, as |alert() passes it on.
func Point(host, level string, second int64) *agent.Request {
	return &agent.Request{Message: &agent.Request_Point{Point: &agent.Point{
		Time: second * 1e9, Name: "cpu", Database: "telegraf", RetentionPolicy: "autogen",
		Group: "host=" + host, Dimensions: []string{"host"},
		Tags:         map[string]string{"host": host, "alertID": "cpu:host=" + host},
		FieldsDouble: map[string]float64{"usage_user": 97.5},
		FieldsString: map[string]string{"level": level, "message": "cpu of " + host + " is " + level},
		FieldsInt:    map[string]int64{"duration": 60e9},
	}}}
}

// Option is an option of text values, as a TICKscript gives it.
func Option(name string, values ...string) *agent.Option {
	o := &agent.Option{Name: name}
	for _, v := range values {
		o.Values = append(o.Values, &agent.OptionValue{Type: agent.ValueType_STRING, Value: &agent.OptionValue_StringValue{StringValue: v}})
	}
	return o
}

// Frames returns requests as Kapacitor writes them.
func Frames(requests ...*agent.Request) []byte {
	var b []byte
	for _, r := range requests {
		data, err := proto.Marshal(r)
		if err != nil {
			panic(err)
		}
		b = append(b, Framed(data)...)
	}
	return b
}

// Framed puts the length before the body of a frame.
func Framed(body []byte) []byte {
	return append(binary.AppendUvarint(nil, uint64(len(body))), body...)
}
