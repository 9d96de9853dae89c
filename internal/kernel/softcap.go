package kernel

import "math"

// Softcap sets out = limit·tanh(x/limit), which keeps logits between −limit and limit (Gemma 2, arXiv:2408.00118). It runs on the calling goroutine.
// out may be x. The error in float32 is below 3 ulp, denormal x left out.
func Softcap[F Float](out, x []F, limit F) { softcap(out, x[:len(out)], limit, 1/limit) }

// SoftcapBackward sets dx = dout·(1 − (y/limit)²), the gradient through y = Softcap(x). dx may be dout or y.
func SoftcapBackward[F Float](dx, dout, y []F, limit F) {
	softcapBackward(dx, dout[:len(dx)], y[:len(dx)], 1/limit)
}

func softcapPortable[F Float](out, x []F, limit, inverse F) {
	for i, v := range x {
		out[i] = limit * F(math.Tanh(float64(v*inverse)))
	}
}

func softcapBackwardPortable[F Float](dx, dout, y []F, inverse F) {
	for i, v := range y {
		t := v * inverse
		dx[i] = dout[i] * (1 - t*t)
	}
}
