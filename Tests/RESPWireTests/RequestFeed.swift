import Primitives
import RESPWire

/// What came out of a client's bytes: requests in order, and the failure that ended them.
struct Parsed: Equatable {
    var requests: [[String]] = []
    var failure: ProtocolFailure?
}

/// A connection as the server has it: an input that grows by pieces, drops what is done, and
/// moves in memory with every piece.
struct RequestFeed: ~Copyable {
    var parser: RequestParser
    var words = WordList(capacity: 1)
    var input: [UInt8] = []
    var parsed = Parsed()
    var missing = 0

    init(_ limits: RequestLimits = RequestLimits(), isAuthenticated: Bool = true) {
        parser = RequestParser(limits: limits, isAuthenticated: isAuthenticated)
    }

    mutating func feed(_ piece: ArraySlice<UInt8>) {
        guard parsed.failure == nil else { return }
        // Room of exactly the bytes: the address sanitizer sees a read past the end.
        let count = input.count + piece.count
        let memory = UnsafeMutableRawPointer.allocate(byteCount: max(count, 1), alignment: 1)
        defer { memory.deallocate() }
        UnsafeMutableRawBufferPointer(start: memory, count: count).copyBytes(from: input + piece)
        var at = 0
        loop: while true {
            switch parser.parse(memory, count: count, from: at, into: &words) {
            case .request(let first, let number, let end):
                take(words.arguments(memory, first: first, count: number))
                at = end
            case .incomplete(let start, let missing):
                at = start
                self.missing = missing
                break loop
            case .failure(let why):
                parsed.failure = why
                break loop
            }
        }
        words.removeAll()
        input = Array(UnsafeRawBufferPointer(start: memory, count: count)[at...])
    }

    private mutating func take(_ arguments: Arguments) {
        // Latin-1, so that every byte can be told from every other.
        parsed.requests.append((0..<arguments.count).map { i in
            String(String.UnicodeScalarView(arguments[i].array.map { Unicode.Scalar($0) }))
        })
    }
}

func parse(
    _ bytes: [UInt8], cutAt cuts: [Int] = [], isAuthenticated: Bool = true,
    limits: RequestLimits = RequestLimits()
) -> Parsed {
    var feed = RequestFeed(limits, isAuthenticated: isAuthenticated)
    var from = 0
    for cut in cuts + [bytes.count] {
        feed.feed(bytes[from..<cut])
        from = cut
    }
    return feed.parsed
}
