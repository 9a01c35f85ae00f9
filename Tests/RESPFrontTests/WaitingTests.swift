import Primitives
import RESPWire
import Testing
import TieredStore

@testable import RESPFront

/// Proves how clients wait for keys and are served, on one loop and across loops. Method: two commands of
/// the test's own: TPOP takes a string from the first of its keys that is there, TMOVE gives it to another.
struct WaitingTests {
    private static func rows() -> [Command] {
        [
            Command(
                "tpop", -3, keys: .range(first: 1, last: -2, step: 1), needs: .value, [.write, .blocking],
                group: "list", since: "1.0.0", "") { call throws(CommandError) in
                let deadline = try Options.deadline(call, call.arguments[call.wordCount - 1])
                for i in 0..<call.keys.count {
                    guard let value = try call.keys.string(i)?.array else { continue }
                    call.reply.array(2)
                    call.reply.bulk(call.keys.key(i))
                    value.withView { call.reply.bulk($0) }
                    call.keys.delete(i)
                    return
                }
                throw .block(until: deadline)
            },
            Command(
                "tmove", 4, keys: .range(first: 1, last: 2, step: 1), needs: .value,
                [.write, .blocking, .answersNull], group: "list", since: "1.0.0", "") {
                call throws(CommandError) in
                let deadline = try Options.deadline(call, call.arguments[3])
                guard let value = try call.keys.string(0)?.array else { throw .block(until: deadline) }
                value.withView { call.keys.setString(1, $0) }
                call.keys.delete(0)
                value.withView { call.reply.bulk($0) }
            },
        ]
    }

    private func server(_ loops: Int) throws -> AdminServer {
        try AdminServer(loops: loops, extraRows: WaitingTests.rows)
    }

    private func pair(_ key: String, _ value: String) -> String {
        "*2\r\n$\(key.count)\r\n\(key)\r\n$\(value.count)\r\n\(value)\r\n"
    }

    @Test(arguments: [1, 3]) func theFirstToComeIsServedFirst(loops: Int) throws {
        let server = try server(loops)
        let waiting = (0..<4).map { server.connect(loop: $0 % loops) }
        for client in waiting { #expect(client.raw("TPOP", "k", "other", "0") == "") }
        #expect(server.state.audience.count(.waiters) == 4)
        let giver = server.connect(loop: loops - 1)
        for (i, client) in waiting.enumerated() {
            #expect(giver.raw("SET", "k", "v\(i)") == "+OK\r\n")
            server.settle()
            #expect(giver.raw("EXISTS", "k") == ":0\r\n")
            #expect(client.received == pair("k", "v\(i)"))
            for late in waiting[(i + 1)...] { #expect(late.received == "") }
        }
        #expect(server.state.audience.isListening == false)
        #expect(giver.raw("SET", "k", "v") == "+OK\r\n")
        #expect(giver.raw("GET", "k") == "$1\r\nv\r\n")
    }

    @Test(arguments: [1, 2]) func whatWasSentBehindRunsAfterwards(loops: Int) throws {
        let server = try server(loops)
        let waiting = server.connect(), giver = server.connect(loop: loops - 1)
        #expect(waiting.raw("TPOP", "k", "0") == "")
        #expect(waiting.raw("PING") == "")
        #expect(waiting.raw("SET", "after", "1") == "")
        #expect(giver.raw("EXISTS", "after") == ":0\r\n")
        #expect(giver.raw("SET", "k", "v") == "+OK\r\n")
        server.settle()
        #expect(waiting.received == pair("k", "v") + "+PONG\r\n+OK\r\n")
    }

    @Test(arguments: [1, 2]) func timeEndsAWait(loops: Int) throws {
        let server = try server(loops)
        let pops = server.connect(), moves = server.connect(loop: loops - 1), three = server.connect()
        _ = three.raw("HELLO", "3")
        #expect(pops.raw("TPOP", "k", "0.05") == "")
        #expect(moves.raw("TMOVE", "k", "to", "0.07") == "")
        #expect(three.raw("TPOP", "k", "0.09") == "")
        server.advance(milliseconds: 49)
        server.settle()
        #expect(pops.received == "")
        server.advance(milliseconds: 1)
        server.settle()
        #expect(pops.received == "*-1\r\n")
        server.advance(milliseconds: 100)
        server.settle()
        #expect(moves.received == "*-1\r\n")
        #expect(three.received == "_\r\n")
        #expect(server.state.audience.isListening == false)
        #expect(pops.raw("TPOP", "k", "x") == "-ERR timeout is not a float or out of range\r\n")
        #expect(pops.raw("TPOP", "k", "-1") == "-ERR timeout is negative\r\n")
    }

    @Test(arguments: [1, 2]) func movingServesWhoWaitsForTheDestination(loops: Int) throws {
        let server = try server(loops)
        let mover = server.connect(), last = server.connect(loop: loops - 1)
        #expect(last.raw("TPOP", "b", "0") == "")
        #expect(mover.raw("TMOVE", "a", "b", "0") == "")
        let giver = server.connect()
        #expect(giver.raw("SET", "a", "v") == "+OK\r\n")
        server.settle()
        #expect(mover.received == "$1\r\nv\r\n")
        #expect(last.received == pair("b", "v"))
        #expect(giver.raw("EXISTS", "a", "b") == ":0\r\n")
    }

    @Test(arguments: [1, 2]) func unblocking(loops: Int) throws {
        let server = try server(loops)
        let a = server.connect(loop: loops - 1), b = server.connect(loop: loops - 1), admin = server.connect()
        #expect(a.raw("TPOP", "k", "0") == "")
        #expect(b.raw("TPOP", "k", "0") == "")
        #expect(admin.raw("INFO", "clients").contains("blocked_clients:2\r\n"))
        #expect(admin.raw("CLIENT", "UNBLOCK", "\(a.session.id)") == ":1\r\n")
        #expect(admin.raw("CLIENT", "UNBLOCK", "\(a.session.id)") == ":0\r\n")
        #expect(admin.raw("CLIENT", "UNBLOCK", "\(b.session.id)", "ERROR") == ":1\r\n")
        server.settle()
        #expect(a.received == "*-1\r\n")
        #expect(b.received == "-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n")
        #expect(admin.raw("CLIENT", "UNBLOCK", "\(b.session.id)") == ":0\r\n")
        #expect(admin.raw("SET", "k", "v") == "+OK\r\n")
        #expect(admin.raw("GET", "k") == "$1\r\nv\r\n")
    }

    @Test func whoLeavesGetsNothing() throws {
        let server = try server(2)
        let gone = server.connect(loop: 1), next = server.connect(loop: 1), giver = server.connect()
        #expect(gone.raw("TPOP", "k", "0") == "")
        #expect(next.raw("TPOP", "k", "0") == "")
        gone.front.close(gone.session)
        #expect(giver.raw("SET", "k", "v") == "+OK\r\n")
        server.settle()
        #expect(next.received == pair("k", "v"))
        #expect(server.state.audience.isListening == false)
    }

    /// In a transaction nobody waits, and waiters see what it left, not what was there in between.
    @Test func transactions() throws {
        let server = try server(2)
        let waiting = server.connect(loop: 1), other = server.connect()
        #expect(waiting.raw("TPOP", "k", "0") == "")
        let commands = [
            ["MULTI"], ["SET", "k", "x"], ["DEL", "k"], ["TPOP", "q", "0"], ["TMOVE", "q", "r", "0"],
        ]
        for words in commands { _ = other.raw(words) }
        #expect(other.raw("EXEC") == "*4\r\n+OK\r\n:1\r\n*-1\r\n$-1\r\n")
        server.settle()
        #expect(waiting.received == "")
        for words in [["MULTI"], ["SET", "k", "x"], ["SET", "k", "y"]] { _ = other.raw(words) }
        #expect(other.raw("EXEC") == "*2\r\n+OK\r\n+OK\r\n")
        server.settle()
        #expect(waiting.received == pair("k", "y"))
    }

    /// SWAPDB brings keys somebody waits for.
    @Test func swappedDatabases() throws {
        let server = try server(2)
        let waiting = server.connect(loop: 1), other = server.connect()
        #expect(waiting.raw("TPOP", "k", "0") == "")
        _ = other.raw("SELECT", "1")
        _ = other.raw("SET", "k", "v")
        server.settle()
        #expect(waiting.received == "")
        #expect(other.raw("SWAPDB", "0", "1") == "+OK\r\n")
        server.settle()
        #expect(waiting.received == pair("k", "v"))
    }

    /// A stripe that cannot be had at once: the waiter's own loop runs the command again.
    @Test func aBusyStripe() throws {
        let server = try server(2)
        let waiting = server.connect(loop: 1), other = server.connect()
        #expect(waiting.raw("TMOVE", "a", "b", "0") == "")
        let worker = server.state.fronts[1].worker
        let hash = Array("b".utf8).withView { worker.hash($0) }
        worker.withStripe(of: hash) { #expect(other.raw("SET", "a", "v") == "+OK\r\n") }
        #expect(other.raw("GET", "a") == "$1\r\nv\r\n")
        server.settle()
        #expect(waiting.received == "$1\r\nv\r\n")
        #expect(other.raw("GET", "b") == "$1\r\nv\r\n")
        #expect(server.state.audience.isListening == false)
    }
}
