package data

import (
	"bufio"
	"bytes"
	"io"
	"math"
	"os"
	"strings"
	"unicode"
)

func init() {
	register("text", format{extensions: []string{".txt", ".text", ".md"}, text: true, separator: true, read: readText})
}

// readText emits what lies between separators, stripped of white space; blank parts are no documents.
// Without a separator the file is one document, left as it is.
func readText(f *File, src *os.File, emit func(record) error) error {
	r := withoutBOM(src)
	if f.Separator == "" {
		all, err := io.ReadAll(r)
		if err != nil || len(bytes.TrimSpace(all)) == 0 {
			return err
		}
		return emit(record{f, "line", 1, func() (example, error) { return example{text: string(all)}, nil }})
	}
	parts := bufio.NewScanner(r)
	parts.Buffer(nil, math.MaxInt)
	parts.Split(splitAt([]byte(f.Separator)))
	newline, line := []byte("\n"), 1
	for parts.Scan() {
		part := parts.Bytes()
		body := bytes.TrimLeftFunc(part, unicode.IsSpace)
		if len(body) > 0 {
			at := line + bytes.Count(part[:len(part)-len(body)], newline)
			text := string(bytes.TrimSpace(body))
			if err := emit(record{f, "line", at, func() (example, error) { return example{text: text}, nil }}); err != nil {
				return err
			}
		}
		line += bytes.Count(part, newline) + strings.Count(f.Separator, "\n")
	}
	return parts.Err()
}

// splitAt cuts at each separator; what follows the last one is a part too.
func splitAt(separator []byte) bufio.SplitFunc {
	searched := 0 // no separator begins before it: a long part is not searched again whenever more of it was read
	return func(data []byte, atEOF bool) (int, []byte, error) {
		if i := bytes.Index(data[searched:], separator); i >= 0 {
			i += searched
			searched = 0
			return i + len(separator), data[:i], nil
		}
		if atEOF {
			searched = 0
			if len(data) == 0 {
				return 0, nil, nil
			}
			return len(data), data, nil
		}
		searched = max(0, len(data)-len(separator)+1)
		return 0, nil, nil
	}
}
