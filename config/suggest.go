package config

import (
	"fmt"
	"strings"

	"github.com/agext/levenshtein"
)

// nearest returns the candidate that was likely meant by word, or "" when
// none is near: a beginning of it, or two letters or a third of them wrong at
// most (one in a short word).
func nearest(word string, candidates []string) string {
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	word = plain(word)
	if word == "" {
		return ""
	}
	allowed := max(2, len(word)/3)
	if len(word) < 4 {
		allowed = 1
	}
	best, bestDistance := "", allowed+1
	for _, c := range candidates {
		distance := levenshtein.Distance(word, plain(c), nil)
		if len(word) >= 3 && strings.HasPrefix(plain(c), word) {
			distance = min(distance, 1)
		}
		if distance < bestDistance {
			best, bestDistance = c, distance
		}
	}
	return best
}

// DidYouMean is the end of a sentence about an unknown word: the likely one,
// written as format says, or else another hint.
func DidYouMean(word string, candidates []string, format, otherwise string) string {
	if near := nearest(word, candidates); near != "" {
		return "did you mean " + fmt.Sprintf(format, near) + "?"
	}
	return otherwise
}
