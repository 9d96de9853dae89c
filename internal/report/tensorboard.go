package report

import (
	"bufio"
	"encoding/binary"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// An event file is a sequence of records: length (8 bytes, little-endian), masked CRC32C of these 8 bytes (4), a
// tensorflow.Event message, masked CRC32C of the message (4). Source: TensorFlow's record_writer.cc and event.proto.

// Field numbers of event.proto and summary.proto.
const (
	eventWallTime    = 1 // double, seconds
	eventStep        = 2 // int64
	eventFileVersion = 3 // string
	eventSummary     = 5 // Summary
	summaryValue     = 1 // repeated Summary.Value
	valueTag         = 1 // string
	valueSimple      = 2 // float
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func maskedCRC(b []byte) uint32 {
	crc := crc32.Checksum(b, castagnoli)
	return (crc>>15 | crc<<17) + 0xa282ead8
}

func frame(message []byte) []byte {
	record := binary.LittleEndian.AppendUint64(nil, uint64(len(message)))
	record = binary.LittleEndian.AppendUint32(record, maskedCRC(record))
	record = append(record, message...)
	return binary.LittleEndian.AppendUint32(record, maskedCRC(message))
}

func appendWallTime(b []byte, at time.Time) []byte {
	b = protowire.AppendTag(b, eventWallTime, protowire.Fixed64Type)
	return protowire.AppendFixed64(b, math.Float64bits(float64(at.UnixMicro())/1e6))
}

// versionEvent is the first record of a file.
func versionEvent(at time.Time) []byte {
	b := appendWallTime(nil, at)
	b = protowire.AppendTag(b, eventFileVersion, protowire.BytesType)
	return frame(protowire.AppendString(b, "brain.Event:2"))
}

// scalarEvent holds the scalars of one step, sorted by tag.
func scalarEvent(step int, at time.Time, scalars map[string]float64) []byte {
	var summary []byte
	for _, tag := range slices.Sorted(maps.Keys(scalars)) {
		value := protowire.AppendTag(nil, valueTag, protowire.BytesType)
		value = protowire.AppendString(value, tag)
		value = protowire.AppendTag(value, valueSimple, protowire.Fixed32Type)
		value = protowire.AppendFixed32(value, math.Float32bits(float32(scalars[tag])))
		summary = protowire.AppendTag(summary, summaryValue, protowire.BytesType)
		summary = protowire.AppendBytes(summary, value)
	}
	b := appendWallTime(nil, at)
	b = protowire.AppendTag(b, eventStep, protowire.VarintType)
	b = protowire.AppendVarint(b, uint64(step))
	b = protowire.AppendTag(b, eventSummary, protowire.BytesType)
	return frame(protowire.AppendBytes(b, summary))
}

// scanEvent reads a record of an event file. A damaged one counts as torn: TensorBoard would read no further either.
func scanEvent(r *bufio.Reader) (int, int64, error) {
	header := make([]byte, 12)
	if _, err := io.ReadFull(r, header); err != nil {
		return 0, 0, err
	}
	length := binary.LittleEndian.Uint64(header)
	if maskedCRC(header[:8]) != binary.LittleEndian.Uint32(header[8:]) || length > 1<<24 {
		return 0, 0, io.ErrUnexpectedEOF
	}
	body := make([]byte, length+4)
	if _, err := io.ReadFull(r, body); err != nil {
		return 0, 0, io.ErrUnexpectedEOF
	}
	message := body[:length]
	if maskedCRC(message) != binary.LittleEndian.Uint32(body[length:]) {
		return 0, 0, io.ErrUnexpectedEOF
	}
	step := uint64(0)
	for len(message) > 0 {
		field, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return 0, 0, io.ErrUnexpectedEOF
		}
		message = message[n:]
		if field == eventStep && kind == protowire.VarintType {
			step, _ = protowire.ConsumeVarint(message)
		}
		if n = protowire.ConsumeFieldValue(field, kind, message); n < 0 {
			return 0, 0, io.ErrUnexpectedEOF
		}
		message = message[n:]
	}
	return int(step), int64(12 + length + 4), nil
}
