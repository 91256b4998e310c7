package command

import (
	"time"

	"github.com/faultline-dev/faultline/reports"
	"github.com/faultline-dev/faultline/sim"
)

// traceMessages bounds the messages that a run's folder keeps.
const traceMessages = 5000

// keepTrace writes the messages around the first witness of a simulated run, and
// draws the reports again with them.
func keepTrace(f *reports.Folder, res reports.Results, w *sim.World, began time.Duration) error {
	if len(res.Anomalies) == 0 {
		return nil
	}
	h, err := f.History()
	if err != nil {
		return err
	}
	windows, _ := reports.Windows(res, h)
	t := reports.Trace{}
	for _, n := range w.Nodes() {
		t.Nodes = append(t.Nodes, n.Name)
	}
	for _, x := range windows {
		for _, m := range w.Messages(began+x[0], began+x[1]) {
			received := m.Received
			if received > 0 {
				received -= began
			}
			if len(t.Messages) < traceMessages {
				t.Messages = append(t.Messages, reports.TraceMessage{From: m.From, To: m.To, Sent: m.Sent - began, Received: received, Label: m.Label})
			}
		}
	}
	if len(t.Messages) == 0 {
		return nil
	}
	if err := f.WriteTrace(t); err != nil {
		return err
	}
	return reports.Render(f)
}
