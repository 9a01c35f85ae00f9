import Primitives
import RESPWire
import Testing
import TieredStore

@testable import RESPFront

/// A server in this process without sockets: settings, a small store, any number of loops.
final class AdminServer {
    let state: ServerState
    private(set) var wakes = 0
    private(set) var shutdowns = 0

    /// Unix milliseconds of all loops.
    private(set) var now: Int64 = 1_700_000_000_000

    init(_ settings: [String] = [], loops: Int = 1, extraRows: () -> [Command] = { [] }) throws {
        let configuration = try Configuration.load(arguments: settings)
        var options = StoreOptions.tiny
        options.workers = loops
        options.databases = configuration.databases
        let store = try #require(Store(options))
        for worker in store.workers {
            worker.setTime(milliseconds: 1_700_000_000_000, nanoseconds: 1)
        }
        state = ServerState(
            store: store, configuration: configuration, now: 1_699_999_990_000, processID: 4711,
            seed: 1, ticksPerMicrosecond: 1000, extraRows: extraRows)
        state.wakeLoops = { [unowned self] in wakes += 1 }
        state.requestShutdown = { [unowned self] _ in shutdowns += 1 }
        state.residentSetSize = { 5 << 20 }
    }

    /// Lets time pass on all loops.
    func advance(milliseconds: Int64) {
        now += milliseconds
        for worker in state.store.workers {
            worker.setTime(milliseconds: now, nanoseconds: UInt64(now) * 1_000_000)
        }
    }

    /// Lets every loop read its mail and go on, until all have come to rest.
    func settle() {
        for _ in 0..<4 {
            for front in state.fronts {
                front.readMail()
                front.resume()
            }
        }
    }

    func connect(loop: Int = 0, from address: String = "127.0.0.1:5000") -> Client {
        Client(state.fronts[loop], state.fronts[loop].open(
            descriptor: 8, peerAddress: address, localAddress: "127.0.0.1:6379"))
    }

    /// One client; what it sends is answered at once.
    final class Client {
        let front: Front
        let session: Session
        private var parser = ReplyParser()

        init(_ front: Front, _ session: Session) {
            self.front = front
            self.session = session
        }

        /// The parser takes requests of any size: the client is known.
        var mayBeLarge: Bool {
            let yes = session.parser.isAuthenticated
            return yes
        }

        /// The bytes answered to a request, as text.
        func raw(_ words: String...) -> String { raw(words) }

        func raw(_ words: [String]) -> String {
            var bytes = RequestWriter.bytes(words)
            let count = bytes.count
            bytes.withUnsafeMutableBytes { front.receive(session, $0.baseAddress!, count) }
            return received
        }

        /// The bytes that have come for the client.
        var received: String {
            let text = session.output.view.text
            session.output.consume(session.output.count)
            return text
        }

        func reply(_ words: String...) throws -> Reply { try reply(words) }

        func reply(_ words: [String]) throws -> Reply {
            parser.append(Array(raw(words).utf8))
            return try #require(try parser.next())
        }

        /// The answer's text.
        func text(_ words: String...) throws -> String { try #require(try reply(words).text) }
    }
}
