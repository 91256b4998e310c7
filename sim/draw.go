package sim

import (
	"math/rand/v2"
	"time"
)

// drawStream tells the source of configurations from others of the same seed.
const drawStream = 0x64726177

// Draw is a configuration drawn from a seed, without System and Names: how fast
// and how true network, disks and clocks are. All of it is inside the failure
// model.
func Draw(seed uint64) Config {
	rng := rand.New(rand.NewPCG(seed, drawStream))
	pick := func(of ...time.Duration) time.Duration { return of[rng.IntN(len(of))] }
	chance := func(of ...float64) float64 { return of[rng.IntN(len(of))] }
	const us, ms = time.Microsecond, time.Millisecond
	return Config{
		Seed: seed,
		Net: Net{
			Least: pick(200*us, 500*us, ms), Mean: pick(300*us, ms, 2*ms, 4*ms),
			ClientLeast: pick(500*us, ms, 2*ms), ClientMean: pick(ms, 3*ms, 8*ms),
			Loss: chance(0, 0, 0, 0.005, 0.02), Duplicate: chance(0, 0, 0, 0.01), Reorder: chance(0, 0, 0.01, 0.05),
		},
		SyncLeast: pick(200*us, 500*us, ms), SyncMean: pick(500*us, 2*ms, 5*ms),
		Drift: chance(0, 0.001, 0.01, 0.01),
	}
}
