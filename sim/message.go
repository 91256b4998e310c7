package sim

import "time"

// Message is a frame that was sent, as the reports draw it.
type Message struct {
	From     int           `json:"from"`
	To       int           `json:"to"`
	Sent     time.Duration `json:"sent_ns"`
	Received time.Duration `json:"received_ns,omitempty"` // 0 for never
	Label    string        `json:"label"`
}

// messagesMax bounds what is kept; a run in which more are sent keeps the first.
const messagesMax = 1 << 20

// note records a frame that is sent, if messages are kept.
func (w *World) note(from, to int, payload []byte) int {
	if !w.cfg.Keep || len(w.message) >= messagesMax {
		return -1
	}
	label := ""
	if w.cfg.System.Label != nil {
		label = w.cfg.System.Label(payload)
	}
	w.message = append(w.message, Message{From: from, To: to, Sent: w.now, Label: label})
	return len(w.message) - 1
}

func (w *World) arrived(sent int) {
	if sent >= 0 {
		w.message[sent].Received = w.now
	}
}

// Messages are the frames sent from one world time to another.
func (w *World) Messages(from, to time.Duration) []Message {
	var some []Message
	for _, m := range w.message {
		if m.Sent <= to && max(m.Received, m.Sent) >= from {
			some = append(some, m)
		}
	}
	return some
}
