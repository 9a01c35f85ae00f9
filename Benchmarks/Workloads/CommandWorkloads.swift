import Primitives
import RESPFront

extension Workload {
    static let collectionWorkloads = [
        commands("hset", "HSET of a field of a small hash") { i, _ in
            request("HSET", Data.key(i % 16), "field:\(i % 64)", Data.text(20))
        },
        commands("hget", "HGET of a field of a small hash", before: { i in
            request("HSET", Data.key(i % 16), "field:\(i % 64)", Data.text(20))
        }) { i, _ in
            request("HGET", Data.key(i % 16), "field:\(i % 64)")
        },
        commands("lpush-lpop", "LPUSH and LPOP by turns, on a list of 1000", before: { i in
            request("RPUSH", Data.key(0), "element:\(i)")
        }) { i, _ in
            i % 2 == 0 ? request("LPUSH", Data.key(0), "element:\(i)") : request("LPOP", Data.key(0))
        },
        commands("sadd", "SADD to a set of 2000, half of it new and taken out again") { i, at in
            request(i % 4 == 3 ? "SREM" : "SADD", Data.key(0), "member:\(at % 2000)")
        },
        commands("zadd", "ZADD of a new score in a sorted set of 2000", before: { i in
            request("ZADD", Data.key(0), String(i), "member:\(i)")
        }) { i, at in
            request("ZADD", Data.key(0), String(i * 37 % 2048), "member:\(at % 2000)")
        },
        commands("zrange", "ZRANGE of 10 in a sorted set of 2000", before: { i in
            request("ZADD", Data.key(0), String(i), "member:\(i)")
        }) { _, at in
            request("ZRANGE", Data.key(0), String(at % 1900), String(at % 1900 + 9))
        },
        commands("xadd", "XADD, trimmed to about 1000") { i, _ in
            request("XADD", Data.key(0), "MAXLEN", "~", "1000", "*", "field", Data.text(20))
        },
    ]

    static let executionWorkloads = [
        commands("eval", "EVAL of a script with one GET", count: 2000, before: { i in
            request("SET", Data.key(i), Data.text(100))
        }) { _, at in
            request("EVAL", "return redis.call('GET', KEYS[1])", "1", Data.key(at))
        },
        Workload("multi", "MULTI, 10 SETs, EXEC", count: 400) {
            let bench = Workbench()
            let tape = Tape(groups: (0..<256).map { i in
                [request("MULTI")]
                    + (0..<10).map { request("SET", Data.key((i * 10 + $0) % 1000), Data.text(100)) }
                    + [request("EXEC")]
            }, requestsEach: 1)
            return { bench.run(tape, $0) }
        },
        Workload("dump-restore", "DUMP and RESTORE of a hash of 100 fields", count: 160) {
            let bench = Workbench()
            for i in stride(from: 0, to: 100, by: 4) {
                let fields = (i..<(i + 4)).flatMap { ["field:\($0)", Data.text($0 % 50)] }
                bench.run([[Array("HSET".utf8), Array(Data.key(0).utf8)] + fields.map { Array($0.utf8) }])
            }
            let dumping = Tape([request("DUMP", Data.key(0))])
            let dump = payload(bench.run(dumping.next()))
            let tape = Tape(groups: (1..<65).map { i in
                [
                    [Array("RESTORE".utf8), Array(Data.key(i).utf8), [48], dump, Array("REPLACE".utf8)],
                    request("DUMP", Data.key(i)),
                ]
            }, requestsEach: 1)
            withExtendedLifetime(dumping) {}
            return { bench.run(tape, $0) }
        },
    ]

    /// The bytes of a reply that is one bulk string.
    private static func payload(_ reply: ByteView) -> [UInt8] {
        var start = 1
        while reply[start] != 10 { start += 1 }
        return reply[(start + 1)..<(reply.count - 2)].array
    }

    /// 2048 requests that come round again; `make` gets each one's number and a number of chance below 2048.
    private static func commands(
        _ name: String, _ what: String, count: Int = 3200,
        before: (@Sendable (Int) -> Request)? = nil, _ make: @escaping @Sendable (Int, Int) -> Request
    ) -> Workload {
        Workload(name, what, count: count) {
            let bench = Workbench()
            if let before { bench.run((0..<2048).map(before)) }
            let tape = Tape(Data.shuffled(2048).enumerated().map { make($0.offset, $0.element) })
            return { bench.run(tape, $0) }
        }
    }
}
