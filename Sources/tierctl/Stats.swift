import ArgumentParser
import Glibc
import Primitives

/// One screen that tells where the data is and what it costs to reach it.
struct Stats: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Shows RAM, SSD, items, hit ratios, movements and cold-read latency.")

    @OptionGroup var server: ServerOptions
    @Flag(help: "Refresh until interrupted; a number of seconds may follow.") var watch = false
    @Argument(help: "Seconds between refreshes, with --watch.") var seconds: Double = 1
    @Flag(help: "All Tier fields as one JSON object.") var json = false

    func run() throws {
        do throws(ServerConnection.Failure) { try show() } catch {
            emitError("tierctl: \(error)\n")
            throw ExitCode(1)
        }
    }

    private func show() throws(ServerConnection.Failure) {
        let connection = try ServerConnection(server)
        if json { return printJSON(try connection.information()) }
        var before = try Sample(connection)
        let interval = watch ? max(0.1, seconds) : 0.5
        repeat {
            usleep(UInt32(interval * 1_000_000))
            let now = try Sample(connection)
            let screen = Screen(now: now, before: before).text
            // Home, text, clear what is left of the last screen: no flicker.
            emit(watch ? "\u{1B}[H" + screen.replacingNewlines("\u{1B}[K\n") + "\u{1B}[J" : screen)
            before = now
        } while watch
    }

    private func printJSON(_ fields: [String: String]) {
        let wanted = ["used_memory_rss", "maxmemory"]
        let rows = fields.filter { $0.key.hasPrefix("tier_") || wanted.contains($0.key) }
            .sorted { $0.key < $1.key }
            .map { "  \"\($0.key)\": \(Double($0.value) == nil ? "\"\($0.value)\"" : $0.value)" }
        emit("{\n" + rows.joined(separator: ",\n") + "\n}\n")
    }
}

/// INFO at one moment.
struct Sample {
    let fields: [String: String]
    let at: UInt64

    init(_ connection: ServerConnection) throws(ServerConnection.Failure) {
        fields = try connection.information()
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        at = UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    func number(_ name: String) -> Double { fields[name].flatMap(Double.init) ?? 0 }
}

/// The screen of `tierctl stats`.
struct Screen {
    let now: Sample
    let before: Sample
    private let width = 76

    var text: String {
        let lines = [title, ""] + space + [""] + items + [""] + movements + [""] + coldReads + notes
        return lines.joined(separator: "\n") + "\n"
    }

    private func rate(_ name: String) -> Double {
        let seconds = Double(now.at - before.at) / 1e9
        return seconds > 0 ? max(0, now.number(name) - before.number(name)) / seconds : 0
    }

    private var title: String {
        let up = Int(now.number("uptime_in_seconds"))
        let name = "tierd \(now.fields["tierd_version"] ?? "") · port \(now.fields["tcp_port"] ?? "?")"
        let right = "up \(up / 86400)d \(up / 3600 % 24)h \(up / 60 % 60)m \(up % 60)s · "
            + "\(Format.count(now.number("connected_clients"))) clients · "
            + "\(Format.count(rate("total_commands_processed"))) commands/s"
        return name + Format.right(right, width - name.count)
    }

    private func gauge(_ label: String, _ used: Double, _ limit: Double, _ detail: String) -> String {
        let share = limit > 0 ? used / limit : 0
        return Format.left(label, 5) + Format.bar(share, width: 30) + Format.right(Format.percent(share), 8)
            + "   \(Format.bytes(used)) of \(Format.bytes(limit))" + detail
    }

    private var space: [String] {
        let maxmemory = now.number("maxmemory")
        let limit = maxmemory > 0 ? maxmemory : now.number("tier_ram_max_bytes")
        return [
            gauge("RAM", now.number("used_memory_rss"), limit, ""),
            gauge("SSD", now.number("tier_ssd_used_bytes"), now.number("tier_ssd_max_bytes"),
                " (\(Format.bytes(now.number("tier_ssd_live_bytes"))) live)"),
        ]
    }

    private func row(_ cells: [String]) -> String {
        Format.left(cells[0], 16) + cells.dropFirst().map { Format.right($0, 15) }.joined()
    }

    private var items: [String] {
        let resident = now.number("tier_items_resident"), demoted = now.number("tier_items_demoted")
        let all = max(1, resident + demoted)
        let hits = rate("tier_ram_hits_total"), reads = rate("tier_cold_reads_total")
        let totalHits = now.number("tier_ram_hits_total"), totalReads = now.number("tier_cold_reads_total")
        func share(_ a: Double, _ b: Double) -> String { a + b > 0 ? Format.percent(a / (a + b)) : "–" }
        return [
            row(["", "items", "of all", "hits/s", "hit ratio"]),
            row(["in RAM", Format.count(resident), Format.percent(resident / all), Format.count(hits),
                share(totalHits, totalReads)]),
            row(["on SSD only", Format.count(demoted), Format.percent(demoted / all), Format.count(reads),
                share(totalReads, totalHits)]),
        ]
    }

    private var movements: [String] {
        [
            row(["", "demotions", "promotions", "compacted", "SSD written"]),
            row(["per second", Format.count(rate("tier_demotions_total")),
                Format.count(rate("tier_promotions_total")), Format.count(rate("tier_relocations_total")),
                Format.bytes(rate("tier_bytes_written_total")) + "/s"]),
            row(["in all", Format.count(now.number("tier_demotions_total")),
                Format.count(now.number("tier_promotions_total")),
                Format.count(now.number("tier_relocations_total")),
                Format.bytes(now.number("tier_bytes_written_total"))]),
        ]
    }

    private func microseconds(_ name: String) -> String {
        let value = now.number(name)
        return value >= 10000 ? Format.fixed(value / 1000, 1) + " ms" : Format.fixed(value, 0) + " µs"
    }

    private var coldReads: [String] {
        [
            row(["", "p50", "p99", "p99.9", "write ampl."]),
            row(["cold read", microseconds("tier_cold_read_p50_us"), microseconds("tier_cold_read_p99_us"),
                microseconds("tier_cold_read_p999_us"),
                Format.fixed(now.number("tier_write_amplification"), 2)]),
        ]
    }

    private var notes: [String] {
        var lines = [""]
        let waiting = now.number("tier_throttled_clients")
        lines.append("throttled clients: \(Format.count(waiting)) now, "
            + "\(Format.count(now.number("tier_throttled_total"))) in all · free segments: "
            + "\(Format.count(now.number("tier_segments_free"))) of "
            + Format.count(now.number("tier_segments_total")))
        let retired = now.number("tier_segments_retired")
        if retired > 0 {
            lines.append("empty segments kept for the append-only file's base: \(Format.count(retired))")
        }
        let bad = now.number("tier_crc_errors_total") + now.number("tier_read_errors_total")
            + now.number("tier_write_errors_total")
        if bad > 0 {
            lines.append("DISK ERRORS: checksum \(Format.count(now.number("tier_crc_errors_total"))), "
                + "read \(Format.count(now.number("tier_read_errors_total"))), "
                + "write \(Format.count(now.number("tier_write_errors_total")))")
        }
        return lines
    }
}

func emit(_ text: String) {
    let bytes = Array(text.utf8)
    write(1, bytes, bytes.count)
}

func emitError(_ text: String) {
    let bytes = Array(text.utf8)
    write(2, bytes, bytes.count)
}

extension String {
    func replacingNewlines(_ other: String) -> String {
        split(separator: "\n", omittingEmptySubsequences: false).joined(separator: other)
    }
}
