import { COLUMN_PX_MAX, COLUMN_PX_MIN } from "./columns.ts";
import { Separator } from "./separator.tsx";
import { TEXTS } from "../texts.ts";
import type { Columns } from "./use-columns.ts";

const STEP_PX = 10;

export function ColumnHeader({ columns }: { readonly columns: Columns }) {
  return (
    <div className="column-header" role="row">
      {columns.shown.map((column) => {
        const name = TEXTS.columns[column.id];
        const widthPx = columns.widthPx(column);
        return (
          <div key={column.id} className="cell" role="columnheader">
            <span className="column-name">{name}</span>
            {widthPx !== undefined && (
              <Separator
                className="column-edge"
                label={TEXTS.columns.widthOf(name)}
                value={widthPx}
                min={COLUMN_PX_MIN}
                max={COLUMN_PX_MAX}
                step={STEP_PX}
                unitPx={onePixel}
                onChange={(next) => columns.setWidthPx(column, next)}
              />
            )}
          </div>
        );
      })}
    </div>
  );
}

function onePixel(): number {
  return 1;
}
