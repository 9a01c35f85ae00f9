import Primitives
import RESPWire
import TieredStore

// MONITOR: every command as a line, to all that want to see it.
extension Front {
    func startMonitoring(_ session: Session) {
        guard session.modes.insert(.monitors).inserted else { return }
        monitors.append(session.token)
        server.audience.add(1, to: .monitors)
        monitorCount.add(1)
    }

    func stopMonitoring(_ session: Session) {
        guard session.modes.remove(.monitors) != nil else { return }
        monitors.removeAll { $0 == session.token }
        server.audience.add(-1, to: .monitors)
        monitorCount.add(-1)
    }

    /// Shows a command that has run to all who monitor.
    func showToMonitors(_ session: Session, _ row: Command, _ arguments: Arguments) {
        if !row.flags.isDisjoint(with: [.skipMonitor, .admin]) { return }
        tellMonitors(session, row, arguments)
    }

    /// Shows a command whatever its row says: a script before the commands it runs.
    func tellMonitors(_ session: Session, _ row: Command, _ arguments: Arguments) {
        let line = monitorLine(session, row, arguments)
        for front in server.fronts where front.monitorCount.value > 0 {
            if front === self { writeToMonitors(line) } else { front.post(.monitorLine(line)) }
        }
    }

    func writeToMonitors(_ line: [UInt8]) {
        for token in monitors {
            push(token) { out in line.withView { out.simple($0) } }
        }
    }

    /// Shape: seconds.microseconds [db address] "word" "word", as Redis 7.0; the time is that of the
    /// loop's turn, in milliseconds.
    private func monitorLine(_ session: Session, _ row: Command, _ arguments: Arguments) -> [UInt8] {
        let now = worker.now
        let fraction = String(now % 1000 + 1000).dropFirst() + "000"
        let isUnix = session.peerAddress.hasSuffix(":0")
        var address = isUnix ? "unix:" + session.peerAddress.dropLast(2) : session.peerAddress
        if scripts.isRunning { address = "lua" }
        var line = Array("\(now / 1000).\(fraction) [\(session.database) \(address)]".utf8)
        let secrets = server.secrets(row, arguments)
        for i in 0..<arguments.count {
            line.append(32)
            if secrets.contains(i) {
                line += Array("\"(redacted)\"".utf8)
            } else {
                Front.appendQuoted(arguments[i], to: &line)
            }
        }
        return line
    }

    /// A word in quotes, what cannot be printed escaped as Redis does.
    private static func appendQuoted(_ word: ByteView, to line: inout [UInt8]) {
        let digits = Array("0123456789abcdef".utf8)
        line.append(34)
        for i in 0..<word.count {
            let byte = word[i]
            switch byte {
            case 92, 34: line += [92, byte]
            case 10: line += [92, UInt8(ascii: "n")]
            case 13: line += [92, UInt8(ascii: "r")]
            case 9: line += [92, UInt8(ascii: "t")]
            case 7: line += [92, UInt8(ascii: "a")]
            case 8: line += [92, UInt8(ascii: "b")]
            case 32..<127: line.append(byte)
            default: line += [92, UInt8(ascii: "x"), digits[Int(byte >> 4)], digits[Int(byte & 15)]]
            }
        }
        line.append(34)
    }
}
