package test

import (
	"testing"

	"bigpanda-udf/stream/test/natstest"
)

func TestMain(m *testing.M) { natstest.Main(m) }
