package retry

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// Whatever is at fault, and wherever it begins: each good alert passes, each bad
// one is sent alone, and bad ones that come together cost few requests.
func TestIsolation(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	anywhere := func(int) bool { return random.IntN(5) == 0 }
	for _, tt := range []struct {
		name string
		bad  func(place int) bool
		most int // pieces, beside one for each that is bad
	}{
		{"none", func(int) bool { return false }, 12},
		{"one", func(place int) bool { return place == 250 }, 40},
		{"the first half", func(place int) bool { return place < 250 }, 40},
		{"the second half", func(place int) bool { return place >= 250 }, 40},
		{"all", func(int) bool { return true }, 20},
		{"anywhere", anywhere, 500},
	} {
		for _, begin := range []struct {
			at     int
			passed bool
		}{{499, false}, {0, false}, {0, true}, {200, true}, {500, true}} {
			t.Run(fmt.Sprint(tt.name, begin), func(t *testing.T) {
				bad := make(map[int]bool)
				var rest []int
				for place := range 500 {
					rest, bad[place] = append(rest, place), tt.bad(place)
				}
				faults, pieces := 0, 0
				s := NewIsolation(len(rest), begin.at, begin.passed)
				for len(rest) > 0 {
					from, end := s.Piece()
					pieces++
					switch fails := slices.ContainsFunc(rest[from:end], func(place int) bool { return bad[place] }); {
					case from >= end:
						t.Fatalf("an empty piece while %d are left", len(rest))
					case fails && end-from > 1:
						s.Failed()
						continue
					case fails:
						faults++
						s.Isolated()
					default:
						s.Passed()
					}
					rest = slices.Delete(rest, from, end)
				}
				if from, end := s.Piece(); from != end {
					t.Errorf("a piece from %d to %d, and nothing is left", from, end)
				}
				want := 0
				for _, is := range bad {
					if is {
						want++
					}
				}
				if faults != want || pieces > want+tt.most {
					t.Errorf("%d alerts stood alone, want %d; it took %d pieces", faults, want, pieces)
				}
			})
		}
	}
}
