import Primitives

/// Encodes requests as clients send them: arrays of bulk strings.
public enum RequestWriter {
    /// Appends one request to `out`.
    public static func write(_ words: [[UInt8]], to out: inout [UInt8]) {
        precondition(!words.isEmpty, "a request has at least its name")
        out += "*\(words.count)\r\n".utf8
        for word in words {
            out += "$\(word.count)\r\n".utf8
            out += word
            out += "\r\n".utf8
        }
    }

    public static func bytes(_ words: [[UInt8]]) -> [UInt8] {
        var out: [UInt8] = []
        write(words, to: &out)
        return out
    }

    /// Bytes a request takes at most.
    public static func mostBytes(_ request: Arguments) -> Int {
        var bytes = 16
        for i in 0..<request.count { bytes += request[i].count + 16 }
        return bytes
    }

    /// Appends a request.
    public static func write(_ request: Arguments, to out: inout [UInt8]) {
        out += "*\(request.count)\r\n".utf8
        for i in 0..<request.count {
            out += "$\(request[i].count)\r\n".utf8
            out += request[i].array
            out += "\r\n".utf8
        }
    }

    public static func bytes(_ words: [String]) -> [UInt8] { bytes(words.map { Array($0.utf8) }) }
}
