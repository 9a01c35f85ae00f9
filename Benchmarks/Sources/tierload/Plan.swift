/// What a run shall do.
struct Plan: Sendable {
    var host = "127.0.0.1"
    var port: UInt16 = 6379
    var threads = 1
    var clients = 50
    /// Requests in flight a connection.
    var pipeline = 1
    var mix: [Template] = []
    var format = Encoder.Format.resp
    var distribution = Distribution.uniform(1)
    var size = ValueSize.fixed(500)
    var trace: Trace?
    /// Whether the trace's times are kept, and how many times as fast.
    var traceSpeed = 0.0
    /// A read that finds nothing is followed by a write of the value, as beside a cache.
    var fillsMissing = false
    var requests = 0
    /// Run for so long instead; 0: until all requests are made.
    var seconds = 0.0
    /// Requests a second in all, from the intended start of each; 0: as fast as replies come.
    var rate = 0.0
    var arrivals = Arrivals.even
    var verifies = true
    var slides = false
    /// Each connection sends the commands of the mix one after the other, in place of drawing one.
    var inTurn = false
    var seed: UInt64 = 1
    /// Nanoseconds between two samples; 0: none.
    var sampleEvery: UInt64 = 0
    /// Process whose memory is sampled; 0: none.
    var pid = 0

    enum Arrivals: String, CaseIterable, Sendable { case even, poisson }
}
