# The results of each size, as an array, to a table in Markdown and a verdict. Ends with 1 if the verdict is bad.
# Expects $baseline, the size that the others are compared with, and $ratio_max.

def median:
    sort | if length == 0 then null else (.[(length - 1) / 2 | floor] + .[length / 2 | floor]) / 2 | round end;
def carried_through: [.takeovers[] | select(.fate == "took over")];
def pauses: carried_through | map(.pause_us);
def connections_lost: [.connections[].lost] | add;
def opened: [.connections[].opened] | add;
def hundredths: . * 100 | round / 100;

# How a pause compares with that of the baseline.
def times($of_baseline): if . == null or $of_baseline == null then null else . / $of_baseline end;
def told: if . then "\(hundredths)" else "-" end;

def cells($baseline_pauses):
    if .failure then ["\(.size)", .failure] else
        [ "\(.size)",
          "\(carried_through | length) of \(.options.takeovers)",
          "\(.messages.answered) of \(.messages.sent)",
          "\(connections_lost)", "\(.messages.lost)", "\(.messages.discontinuities)",
          "\(carried_through | map(.copy_us) | median // "-")",
          (pauses | map(tostring) | join(", ")),
          "\(pauses | median // "-")",
          (pauses | median | times($baseline_pauses | median) | told),
          (pauses | min | times($baseline_pauses | min) | told),
          .guest.clocksource, "\(.guest.open_files_max)", "\(.host.peak_mib)", "\(.host.seconds)",
          (.host.others | told) ]
    end;

# What is wrong with a size, a line each.
def faults($baseline_pauses): .size as $size | (
    if .failure then .failure else
        ( if .exit_code != 0 or .good != true then "the soak says that not all is well, code \(.exit_code)" else empty end ),
        ( .complaints[], (.death // empty) ),
        ( .takeovers[] | select(.fate != "took over") | "a takeover failed: \(.reason // .fate)" ),
        ( if (.takeovers | length) != .options.takeovers then "not all takeovers were begun" else empty end ),
        ( carried_through[] | select(.peers != $size) | "a takeover moved \(.peers) peers" ),
        ( if opened != $size then "\(opened) connections were open" else empty end ),
        ( pauses | median | times($baseline_pauses | median) | select(. != null and . > $ratio_max)
            | "the pause is \(hundredths) times that at \($baseline), and may be \($ratio_max) times" )
    end | "\($size) connections: \(.)");

def row: "| " + join(" | ") + " |";

(map(select(.size == $baseline and (has("failure") | not)) | pauses) | first // []) as $baseline_pauses
| ["connections", "takeovers", "messages answered", "connections lost", "messages lost", "discontinuities",
   "copy, median, µs", "pauses, µs", "pause, median, µs", "times that at \($baseline)", "least pause, times that at \($baseline)",
   "clock source", "open files allowed", "memory, MiB", "seconds", "processors busy elsewhere"] as $head
| ($head | row), ($head | map("---") | row), (.[] | cells($baseline_pauses) | row),
  ([.[] | faults($baseline_pauses)] as $faults
   | if $faults == [] then "\nNothing was lost, and no pause, median of each size, was over \($ratio_max) times that at \($baseline)."
     else "\n\($faults | join("\n"))\n" | halt_error(1) end)
